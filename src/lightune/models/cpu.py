"""Faster training on a CPU: memory that is kept, and attention and dropout that suit its kernels.

Each function computes what torch's own version computes; other devices use torch's own.
"""

import ctypes
import os
import platform
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

# parameters of mallopt, from malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
# scores computed at a time: 4 MiB, which stay in the processor's cache
PART_SCORES = 2**21
# scores of a layer kept for the backward pass: 32 MiB; a layer with more keeps none
MAX_KEPT_SCORES = 2**24
# kernels that oneDNN keeps: one shape of batch needs about as many
KEPT_KERNELS = "20"


def has_bf16() -> bool:
    """Say whether this CPU multiplies bfloat16 matrices itself, several times as fast as float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def speed_up() -> None:
    """Set this process up for fast training. Call it once, before models are loaded.

    glibc returns every large block to the system when it is freed, and each step waits for its pages to be mapped and
    zeroed again: keeping them saves a sixth of a step's time. The kernels that oneDNN makes for each shape fragment kept
    memory: with few of them a run grows less (at 512 tokens to 2.7 GB in place of 3.1), and making them again costs
    no measurable time.
    """
    # oneDNN reads it when it makes its first kernel
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KEPT_KERNELS)
    AttentionInterface.register("sdpa", attention)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend as transformers' ``sdpa`` does; on a CPU in bfloat16 by plain matrix products.

    torch's flash kernel for CPUs gains nothing from bfloat16, while matrix products do: at 128 to 512 tokens they are
    twice as fast. Causal attention without a mask uses the flash kernel, in float32. Where matrix products gain
    nothing (float32, attention dropout, grouped heads, other devices) torch chooses.

    Shapes: query (batch, heads, queries, head size), key and value (batch, heads, keys, head size), attention_mask
    (batch, 1 or heads, queries, keys), True where a query sees a key; output (batch, queries, heads, head size).
    """
    is_faster = (
        query.device.type == "cpu"
        and query.dtype == key.dtype == value.dtype == torch.bfloat16
        and not kwargs.get("dropout")
        and key.shape[1] == query.shape[1]
        and kwargs.get("position_bias") is None
        and (attention_mask is None or attention_mask.dtype == torch.bool)
    )
    if not is_faster:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if attention_mask is None and causal and query.shape[2] > 1:
        query, key, value = query.float(), key.float(), value.float()
        output, _ = sdpa_attention_forward(module, query, key, value, None, **kwargs)
        return output.bfloat16(), None
    scaling = kwargs.get("scaling")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    masked = None
    if attention_mask is not None:
        columns = (~attention_mask).flatten(0, 2).any(dim=0).nonzero()
        masked = ~attention_mask[..., int(columns[0]) :] if len(columns) else None
    output = Attention.apply(query * scale, key, value, masked)  # type: ignore[no-untyped-call]
    return output, None


class Attention(torch.autograd.Function):
    """Softmax attention by matrix products, a part at a time: a part's scores stay in the processor's cache.

    The weights of all parts are kept for the backward pass where they are few; else they are computed again, which
    costs about what the cache saves. Values and gradients equal those of one product bit by bit.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, masked: Tensor | None) -> Tensor:
        """Attend as ``attention`` does, with a scaled query.

        ``masked`` (batch, 1 or heads, queries, last keys) is True where a query does not see one of the last keys.
        """
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        output = _transposed(query, size=value.shape[-1])
        keep = query.shape[:3].numel() * key.shape[2] <= MAX_KEPT_SCORES
        kept = []
        for part in _parts(query, key):
            weights = _weights(query, key, masked, part)
            output[part] = torch.matmul(weights, value[part])
            if keep:
                kept.append(weights)
        ctx.save_for_backward(query, key, value, masked, *kept)
        return output.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of query, key and value."""
        query, key, value, masked, *kept = ctx.saved_tensors
        gradient = gradient.transpose(1, 2).contiguous()
        grad_query, grad_key, grad_value = (_transposed(t, size=t.shape[-1]) for t in (query, key, value))
        for number, part in enumerate(_parts(query, key)):
            weights = kept[number] if kept else _weights(query, key, masked, part)
            grad_value[part] = torch.matmul(weights.transpose(-1, -2), gradient[part])
            grad_weights = torch.matmul(gradient[part], value[part].transpose(-1, -2))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_query[part] = torch.matmul(grad_scores, key[part])
            grad_key[part] = torch.matmul(grad_scores.transpose(-1, -2), query[part])
        return grad_query, grad_key, grad_value, None


def _parts(query: Tensor, key: Tensor) -> list[tuple[slice, slice]]:
    """Cut (batch, heads) into pieces of at most ``PART_SCORES`` scores, where one head of a row has no more."""
    batch, heads, queries = query.shape[:3]
    scores = queries * key.shape[2]
    rows_at_a_time, heads_at_a_time = max(1, PART_SCORES // (heads * scores)), max(1, PART_SCORES // scores)
    return [
        (slice(row, row + rows_at_a_time), slice(head, head + heads_at_a_time))
        for row in range(0, batch, rows_at_a_time)
        for head in range(0, heads, heads_at_a_time)
    ]


def _weights(query: Tensor, key: Tensor, masked: Tensor | None, part: tuple[slice, slice]) -> Tensor:
    scores = torch.matmul(query[part], key[part].transpose(-1, -2))
    if masked is not None:
        rows, heads = part
        masked = masked.expand(len(query), -1, -1, -1)[rows, heads if masked.shape[1] > 1 else slice(None)]
        bias = torch.zeros_like(masked, dtype=scores.dtype)
        scores[..., -masked.shape[-1] :] += bias.masked_fill_(masked, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1)


def _transposed(like: Tensor, *, size: int) -> Tensor:
    """Return an empty (batch, heads, length, size) that lies in memory as (batch, length, heads, size) does."""
    batch, heads, length = like.shape[:3]
    return like.new_empty(batch, length, heads, size).transpose(1, 2)


class Dropout(nn.Dropout):
    """Dropout from 16 random bits a number: torch draws 64 on a CPU, which takes four times as long.

    The probability is exact to 1 in 65,536, and the scale of the kept numbers is that of the rounded one.
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
