"""What makes training quick on a CPU: memory that is kept, attention and dropout that suit its kernels.

Each of these computes what torch's own version does; on other devices torch's own is used.
"""

import ctypes
import platform
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # mallopt's, from malloc.h
# of one layer: above it (256 MiB, kept until the backward pass) the flash kernel, which keeps none
MOST_SCORES = 2**27


def has_bf16() -> bool:
    """Say whether this CPU multiplies bfloat16 matrices itself, several times as fast as float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def speed_up() -> None:
    """Set this process up. Call once, before models are loaded.

    glibc gives every large block back to the system as it is freed, and each step then waits for the same
    pages to be mapped and zeroed anew; it is told to keep them (a sixth of a step's time).
    """
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
    128 to 512 tokens. The kernel saves the memory of the scores, so it takes over, in float32, where they are many.
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
        and query.dtype == torch.bfloat16
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
    looks_back = attention_mask is None and causal and query.shape[2] > 1
    if looks_back or query.shape[:3].numel() * key.shape[2] > MOST_SCORES:
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
    scores = torch.matmul(query * scale, key.transpose(-1, -2))
    if attention_mask is not None:
        away = torch.finfo(scores.dtype).min
        scores += torch.zeros_like(attention_mask, dtype=scores.dtype).masked_fill_(~attention_mask, away)
    return torch.matmul(scores.softmax(dim=-1), value).transpose(1, 2).contiguous(), None


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
    """Put :class:`Dropout` in place of every ``torch.nn.Dropout`` of a model."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
