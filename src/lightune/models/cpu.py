"""What makes training quick on a CPU: memory that is kept, attention and dropout that suit its kernels.

Each of these computes what torch's own version does; on other devices torch's own is used.
"""

import ctypes
import os
import platform
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # mallopt's, from malloc.h
PART = 2**21  # scores that are computed together: 4 MiB, which stay in the cache
MOST_KEPT = 2**24  # of a layer until the backward pass: 32 MiB; where there are more, none
KERNELS = "20"  # that oneDNN keeps: one shape of batch needs about as many


def has_bf16() -> bool:
    """Say whether this CPU multiplies bfloat16 matrices itself, several times as fast as float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def speed_up() -> None:
    """Set this process up. Call once, before models are loaded.

    glibc gives every large block back to the system as it is freed, and each step then waits for the same
    pages to be mapped and zeroed anew; it is told to keep them (a sixth of a step's time). In memory that is kept,
    the kernels that oneDNN makes for each shape lie between the blocks of a step and split what was one: the fewer
    it keeps, the less a run grows (at 512 tokens to 2.7 GB in place of 3.1). To make them anew takes no time to speak of.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KERNELS)  # read when the first kernel is made
    AttentionInterface.register("sdpa", attention)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' ``sdpa`` does, in bfloat16 on a CPU by plain matrix products.

    torch's flash kernel for CPUs gains nothing from bfloat16, while matrix products do: twice its speed at
    128 to 512 tokens. It serves, in float32, where each position looks back and there is no mask.
    Where nothing is gained (float32, attention dropout, grouped heads, other devices) torch chooses.

    Args:
        module: the attention layer.
        query: (batch, heads, queries, head size).
        key: (batch, heads, keys, head size).
        value: (batch, heads, keys, head size).
        attention_mask: (batch, 1 or heads, queries, keys), True where attention is paid; None pays it everywhere.
        dropout: probability with which a weight is dropped.
        scaling: of the scores; None: one over the root of the head size.
        kwargs: the rest of what transformers passes, for its own implementation.

    Returns:
        (batch, queries, heads, head size), and None in place of the weights.
    """
    plain = (
        query.device.type == "cpu"
        and query.dtype == key.dtype == value.dtype == torch.bfloat16
        and dropout == 0.0
        and key.shape[1] == query.shape[1]
        and kwargs.get("position_bias") is None
        and (attention_mask is None or attention_mask.dtype == torch.bool)
    )
    if not plain:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if attention_mask is None and causal and query.shape[2] > 1:
        output, _ = sdpa_attention_forward(
            module,
            query.float(),
            key.float(),
            value.float(),
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            **kwargs,
        )
        return output.to(query.dtype), None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    unseen = None
    if attention_mask is not None:
        columns = (~attention_mask).flatten(0, 2).any(dim=0).nonzero()
        unseen = ~attention_mask[..., int(columns[0]) :] if len(columns) else None
    attended: Tensor = Attention.apply(query * scale, key, value, unseen)  # type: ignore[no-untyped-call]
    return attended, None


class Attention(torch.autograd.Function):
    """Softmax attention by matrix products, part by part: a part's scores stay in the processor's cache.

    The weights of all parts are kept for the backward pass where they are few, else computed again, which costs
    about what was saved by the cache. Values and gradients are to the bit those of one product over all.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, unseen: Tensor | None) -> Tensor:
        """Attend.

        Args:
            ctx: torch's.
            query: (batch, heads, queries, head size), scaled.
            key: (batch, heads, keys, head size).
            value: (batch, heads, keys, head size).
            unseen: (batch, 1 or heads, queries, last keys), True where no attention is paid; it is to all keys before.

        Returns:
            (batch, queries, heads, head size).
        """
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        output = _transposed(query, size=value.shape[-1])
        kept = []
        keep = query.shape[:3].numel() * key.shape[2] <= MOST_KEPT
        for part in _parts(query, key):
            weights = _weights(query, key, unseen, part)
            output[part] = torch.matmul(weights, value[part])
            if keep:
                kept.append(weights)
        ctx.save_for_backward(query, key, value, unseen, *kept)
        return output.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of query, key and value."""
        query, key, value, unseen, *kept = ctx.saved_tensors
        gradient = gradient.transpose(1, 2).contiguous()
        to_query, to_key, to_value = (
            _transposed(tensor, size=tensor.shape[-1]) for tensor in (query, key, value)
        )
        for number, part in enumerate(_parts(query, key)):
            weights = kept[number] if kept else _weights(query, key, unseen, part)
            to_value[part] = torch.matmul(weights.transpose(-1, -2), gradient[part])
            to_weights = torch.matmul(gradient[part], value[part].transpose(-1, -2))
            to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
            to_query[part] = torch.matmul(to_scores, key[part])
            to_key[part] = torch.matmul(to_scores.transpose(-1, -2), query[part])
        return to_query, to_key, to_value, None


def _parts(query: Tensor, key: Tensor) -> list[tuple[slice, slice]]:
    """Cut (batch, heads) into pieces whose scores are few."""
    batch, heads, queries = query.shape[:3]
    scores = queries * key.shape[2]
    rows, together = max(1, PART // (heads * scores)), max(1, PART // scores)
    return [
        (slice(row, row + rows), slice(head, head + together))
        for row in range(0, batch, rows)
        for head in range(0, heads, together)
    ]


def _weights(query: Tensor, key: Tensor, unseen: Tensor | None, part: tuple[slice, slice]) -> Tensor:
    scores = torch.matmul(query[part], key[part].transpose(-1, -2))
    if unseen is not None:
        rows, heads = part
        there = unseen.expand(query.shape[0], -1, -1, -1)[rows, heads if unseen.shape[1] > 1 else slice(None)]
        away = torch.zeros_like(there, dtype=scores.dtype).masked_fill_(there, torch.finfo(scores.dtype).min)
        scores[..., -there.shape[-1] :] += away
    return scores.softmax(dim=-1)


def _transposed(like: Tensor, *, size: int) -> Tensor:
    """Return an empty (batch, heads, length, size) that lies in memory as (batch, length, heads, size) does."""
    batch, heads, length = like.shape[:3]
    return like.new_empty(batch, length, heads, size).transpose(1, 2)


class Dropout(nn.Dropout):
    """Dropout from 16 random bits a number: torch's own draws 64 on a CPU, which takes four times as long.

    The probability is exact to 1 in 65,536, and what is kept is scaled by that.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Drop numbers of a tensor of any shape."""
        dropped = round(self.p * 2**16)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < 2**16:
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: input.numel()].view(input.shape)
        kept = bits >= dropped - 2**15
        return input * kept.to(input.dtype).mul_(2**16 / (2**16 - dropped))


def replace_dropout(model: nn.Module) -> None:
    """Put ``Dropout`` in place of every ``torch.nn.Dropout`` of a model."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
