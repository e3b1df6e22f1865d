"""The precision in which a run computes: the fastest of the hardware that costs no quality."""

import logging
from typing import Any

import torch
from lightning.pytorch.plugins.precision import HalfPrecision
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from lightune.models import cpu
from lightune.models.model_parts import is_decoder_only

log = logging.getLogger(__name__)


class HalfPrecisionOfInputs(HalfPrecision):
    """Lightning's half precision, but for ``labels``: it would round the numbers of a regression, 1905.48 to 1904."""

    def convert_input(self, data: Any) -> Any:
        return super().convert_input(data) | {name: data[name] for name in data if name == "labels"}


def trainer_arguments(precision: str | int, *, accelerator: str) -> dict[str, Any]:
    """Return Lightning's arguments for a ``trainer.precision``, see ``resolve``."""
    resolved: Any = resolve(precision, accelerator=accelerator)
    is_half = resolved in ("bf16-true", "16-true")
    return {"precision": None, "plugins": [HalfPrecisionOfInputs(resolved)]} if is_half else {"precision": resolved}


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


def halve_frozen(model: nn.Module, precision: str | int) -> None:
    """Hold the frozen weights of a decoder-only model in bfloat16, in place, where it computes in ``bf16-mixed``.

    They take half the memory and are not converted at each use. Hidden states are in bfloat16 too, as such models are
    pretrained; encoders keep theirs in float32. ``precision`` is resolved.
    """
    if precision == "bf16-mixed" and is_decoder_only(model.config):
        for parameter in model.parameters():
            if not parameter.requires_grad and parameter.is_floating_point():
                parameter.data = parameter.data.bfloat16()
