"""The precision in which a run computes: the fastest of the hardware that costs no quality."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.plugins.precision import HalfPrecision
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.distributed.tensor import DTensor
from transformers.pytorch_utils import Conv1D

from lightune.models import cpu

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


@contextmanager
def cast_once(model: nn.Module) -> Iterator[None]:
    """Hold the weights of linear layers in autocast's type, for many forward passes without gradients.

    Autocast would cast float32 weights in each pass, which takes as long as computing a token on a CPU. Results are the
    same bit by bit: a weight that is an embedding too (tied) stays as it is, since autocast does not cast embeddings.
    """
    weight = next(model.parameters())
    if not torch.is_autocast_enabled(weight.device.type) or isinstance(weight, DTensor):
        yield
        return
    dtype = torch.get_autocast_dtype(weight.device.type)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    linear = [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D)]
    found = [(module, *named) for module in linear for named in module.named_parameters(recurse=False)]
    kept = [entry for entry in found if entry[2].dtype == torch.float32 and id(entry[2]) not in embeddings]
    try:
        # other parameters in their place: new data of another type would take DDP's hooks off them
        for module, name, parameter in kept:
            setattr(module, name, nn.Parameter(parameter.detach().to(dtype), requires_grad=False))
        yield
    finally:
        for module, name, parameter in kept:
            setattr(module, name, parameter)
