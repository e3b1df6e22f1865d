"""Faster training on a CPU: memory that is kept, and attention and dropout that suit its kernels.

Each function computes what torch's own version computes; other devices use torch's own.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from typing import Any

import joblib
import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

# parameters of mallopt, from malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
# scores computed at a time: 4 MiB, which stay in the processor's cache
PART_SCORES = 2**21
# causal queries computed at a time, or a multiple for at most CAUSAL_BLOCKS: each block needs kernels of its own
CAUSAL_QUERIES, CAUSAL_BLOCKS = 64, 4
# scores of a layer kept for the backward pass: 32 MiB; a layer with more keeps none
MAX_KEPT_SCORES = 2**24
# kernels that oneDNN keeps: with LoRA a decoder's batch of one shape needs about 50
KEPT_KERNELS = "64"


def has_bf16() -> bool:
    """Say whether this CPU multiplies bfloat16 matrices itself, several times as fast as float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def speed_up() -> None:
    """Set this process up for fast training. Call it once, before models are loaded.

    glibc returns every large block to the system when it is freed, and each step waits for its pages to be mapped and
    zeroed again: keeping them saves a sixth of a step's time. The kernels that oneDNN makes for each shape fragment kept
    memory: a run that keeps only those of one step grows less. With fewer, each layer makes its kernels again, 0.2 ms
    each. Threads beyond a container's quota of cores would wait for each other.
    """
    # oneDNN reads it when it makes its first kernel
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KEPT_KERNELS)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(joblib.cpu_count(), torch.get_num_threads()))
    AttentionInterface.register("sdpa", attention)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend as transformers' ``sdpa`` does; on a CPU in bfloat16 by plain matrix products.

    torch's flash kernel for CPUs gains nothing from bfloat16, while matrix products do: at 64 to 512 tokens they are
    twice as fast. Where they gain nothing (float32, attention dropout, other devices) torch chooses.

    Shapes: query (batch, heads, queries, head size), key and value (batch, key heads, keys, head size), where
    neighbouring heads share a key head; attention_mask (batch, 1 or heads, queries, keys), True where a query sees a
    key; output (batch, queries, heads, head size).
    """
    is_cpu, queries = query.device.type == "cpu", query.shape[2]
    is_grouped_step = key.shape[1] < query.shape[1] and queries == 1
    if is_cpu and torch.is_autocast_enabled("cpu"):
        # rotary positions make float32 of query and key where the embedding is float32
        query, key, value = (states.to(torch.get_autocast_dtype("cpu")) for states in (query, key, value))
    if is_cpu and is_grouped_step and attention_mask is None:
        # only where there is a mask does transformers make rows of the heads of one query, which is faster
        attention_mask = query.new_ones(1, 1, 1, key.shape[2], dtype=torch.bool)
    is_faster = (
        is_cpu
        and not is_grouped_step
        and query.dtype == key.dtype == value.dtype == torch.bfloat16
        and not kwargs.get("dropout")
        and kwargs.get("position_bias") is None
        and kwargs.get("softcap") is None
        and (attention_mask is None or attention_mask.dtype == torch.bool)
    )
    if not is_faster:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    causal = bool(causal) and attention_mask is None and queries > 1
    if causal:
        # a cache of fixed size has room for later keys
        key, value = key[:, :, :queries], value[:, :, :queries]
    scaling = kwargs.get("scaling")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    masked = None
    if attention_mask is not None:
        columns = (~attention_mask).flatten(0, 2).any(dim=0).nonzero()
        masked = ~attention_mask[..., int(columns[0]) :] if len(columns) else None
    output = Attention.apply(query * scale, key, value, masked, causal)  # type: ignore[no-untyped-call]
    return output, None


class Attention(torch.autograd.Function):
    """Softmax attention by matrix products, a part at a time: a part's scores stay in the processor's cache.

    The weights of all parts are kept for the backward pass where they are few; else they are computed again, which
    costs about what the cache saves. Values and gradients equal those of one product bit by bit; only the gradients
    of causal keys and values are rounded once for each block of queries.

    Heads that share a key head are rows of the same products: inside, a query is (batch, key heads, queries, group,
    head size).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, masked: Tensor | None, causal: bool) -> Tensor:
        """Attend as ``attention`` does, with a scaled query.

        ``masked`` (batch, 1 or heads, queries, last keys) is True where a query does not see one of the last keys.
        With ``causal`` a query sees the keys up to its own place.
        """
        query, key, value = _grouped(query, key).contiguous(), key.contiguous(), value.contiguous()
        if masked is not None:
            masked = masked.expand(len(query), -1, -1, -1)
            masked = masked.unsqueeze(3) if masked.shape[1] == 1 else _grouped(masked, key)
        output = _transposed(query, size=value.shape[-1])
        keep = any(ctx.needs_input_grad) and query.shape[:4].numel() * key.shape[2] <= MAX_KEPT_SCORES
        kept = []
        for queries, keys in _parts(query, key, causal=causal):
            weights = _weights(query[queries], key[keys], masked, queries, causal=causal)
            output[queries] = torch.matmul(weights, value[keys]).view(output[queries].shape)
            if keep:
                kept.append(weights)
        ctx.causal = causal
        ctx.save_for_backward(query, key, value, masked, *kept)
        return output.transpose(1, 2).flatten(2, 3)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Return the gradients of query, key and value."""
        query, key, value, masked, *kept = ctx.saved_tensors
        gradient = _grouped(gradient.transpose(1, 2), key).contiguous()
        grad_query, grad_key, grad_value = (_transposed(t, size=t.shape[-1]) for t in (query, key, value))
        for number, (queries, keys) in enumerate(_parts(query, key, causal=ctx.causal)):
            weights = kept[number] if kept else _weights(query[queries], key[keys], masked, queries, causal=ctx.causal)
            grad_output = gradient[queries].flatten(2, 3)
            grad_weights = torch.matmul(grad_output, value[keys].transpose(-1, -2))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_query[queries] = torch.matmul(grad_scores, key[keys]).view(query[queries].shape)
            part_value = torch.matmul(weights.transpose(-1, -2), grad_output)
            part_key = torch.matmul(grad_scores.transpose(-1, -2), query[queries].flatten(2, 3))
            # the last queries of a head come first, and see all keys
            is_first = queries[2].stop == query.shape[2]
            grad_value[keys] = part_value if is_first else part_value.add_(grad_value[keys])
            grad_key[keys] = part_key if is_first else part_key.add_(grad_key[keys])
        return grad_query.transpose(2, 3).flatten(1, 2), grad_key, grad_value, None, None


Place = tuple[slice, slice, slice]


def _parts(query: Tensor, key: Tensor, *, causal: bool) -> Iterator[tuple[Place, Place]]:
    """Cut a query and a key into pieces of at most ``PART_SCORES`` scores, where one key head of a row has no more.

    Each is rows, key heads and queries, and rows, key heads and keys. Causal ones are also cut into blocks of queries
    and the keys up to the last of them, the last queries first.
    """
    batch, heads, queries, group = query.shape[:4]
    block = CAUSAL_QUERIES * -(-queries // (CAUSAL_QUERIES * CAUSAL_BLOCKS)) if causal else queries
    for first in reversed(range(0, queries, block)):
        end = min(first + block, queries)
        seen = end if causal else key.shape[2]
        scores = (end - first) * group * seen
        rows_at_a_time, heads_at_a_time = max(1, PART_SCORES // (heads * scores)), max(1, PART_SCORES // scores)
        for row in range(0, batch, rows_at_a_time):
            for head in range(0, heads, heads_at_a_time):
                part = slice(row, row + rows_at_a_time), slice(head, head + heads_at_a_time)
                yield (*part, slice(first, end)), (*part, slice(seen))


def _weights(query: Tensor, key: Tensor, masked: Tensor | None, place: Place, *, causal: bool) -> Tensor:
    """Return a part's weights (rows, key heads, queries x group, keys)."""
    scores = torch.matmul(query.flatten(2, 3), key.transpose(-1, -2))
    if causal:
        masked = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool).triu(1).unsqueeze(1)
    elif masked is not None:
        rows, heads, _ = place
        masked = masked[rows, heads if masked.shape[1] > 1 else slice(None)]
    if masked is not None:
        bias = torch.zeros_like(masked, dtype=scores.dtype).masked_fill_(masked, torch.finfo(scores.dtype).min)
        scores.view(*query.shape[:-1], -1)[..., -masked.shape[-1] :] += bias
    return scores.softmax(dim=-1)


def _grouped(states: Tensor, key: Tensor) -> Tensor:
    """Turn (batch, heads, queries, size) into (batch, key heads, queries, heads of a key head, size)."""
    batch, _, length, size = states.shape
    return states.reshape(batch, key.shape[1], -1, length, size).transpose(2, 3)


def _transposed(like: Tensor, *, size: int) -> Tensor:
    """Return an empty (batch, heads, length, ..., size) that lies in memory as (batch, length, heads, ..., size) does."""
    batch, heads, length, *group = like.shape[:-1]
    return like.new_empty(batch, length, heads, *group, size).transpose(1, 2)


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
