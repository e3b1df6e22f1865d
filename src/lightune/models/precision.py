"""The precision in which a run computes: the fastest of the hardware that costs no quality."""

import logging

import torch
from lightning.pytorch.utilities import rank_zero_only

from lightune.models import cpu

log = logging.getLogger(__name__)


def resolve(precision: str | int, *, accelerator: str) -> str | int:
    """Resolve ``auto`` to ``bf16-mixed`` where the accelerator multiplies bfloat16 itself, else to ``32-true``.

    Both arguments are otherwise those of Lightning's Trainer.
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
    ability = "multiplies" if fast else "does not multiply"
    rank_zero_only(log.info)("precision %s: this %s %s bfloat16", chosen, device, ability)
    return chosen
