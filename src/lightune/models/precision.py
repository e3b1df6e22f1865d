"""In which precision a run computes: what the hardware is quickest at without a loss."""

import logging

import torch
from lightning.pytorch.utilities import rank_zero_only

from lightune.models import cpu

log = logging.getLogger(__name__)


def resolve(precision: str | int, *, accelerator: str) -> str | int:
    """Choose ``bf16-mixed`` for ``auto`` where the hardware multiplies bfloat16 itself, else ``32-true``.

    Args:
        precision: as Lightning's Trainer takes it, or ``auto``.
        accelerator: likewise.
    """
    if precision != "auto":
        return precision
    if accelerator in {"gpu", "cuda", "auto"} and torch.cuda.is_available():
        device, fast = "GPU", torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator != "cpu" and torch.backends.mps.is_available():
        device, fast = "GPU", False
    else:
        device, fast = "CPU", cpu.has_bf16()
    chosen = "bf16-mixed" if fast else "32-true"
    does = "multiplies" if fast else "does not multiply"
    rank_zero_only(log.info)("precision %s: this %s %s bfloat16", chosen, device, does)
    return chosen
