"""The gradient of a step over several micro-batches or devices."""

import math
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor


class TargetMean:
    """Make the loss of a step the mean over all its targets, however they fall into micro-batches and on devices.

    Lightning alone would give each micro-batch the same weight. Each loss is therefore turned into a sum, and the
    gradient is divided by the number of targets before the optimizer steps. A float16 gradient of a sum over thousands
    overflows, so the sum is divided by a power of two near their number, which changes no digit.
    """

    def __init__(self) -> None:
        self._trainer: Any = None
        self._is_alone = True  # the only micro-batch of its step
        self._targets: Tensor | int = 0  # since the last step
        self._unit: float | None = None

    def start_batch(self, trainer: Trainer) -> None:
        """Read how many micro-batches a step has."""
        self._trainer = trainer
        self._is_alone = trainer.world_size * trainer.accumulate_grad_batches == 1

    def sum(self, mean: Tensor, targets: Tensor | int) -> Tensor:
        """Return the loss to differentiate: a sum over targets, or the mean itself where it is the only one."""
        if self._is_alone:
            return mean
        if self._unit is None:
            self._unit = 2.0 ** int(math.log2(self._on_all_devices(targets, mean.device)))
        self._targets = self._targets + targets
        # Lightning divides by the number of micro-batches
        accumulated: int = self._trainer.accumulate_grad_batches
        return mean * targets * (accumulated / self._unit)

    def scale_gradients(self, module: LightningModule) -> None:
        """Turn the gradient of a sum, averaged over devices, into that of the mean over all targets."""
        if self._is_alone or self._unit is None:
            return
        scale = self._unit * self._trainer.world_size / self._on_all_devices(self._targets, module.device)
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(scale)
        self._targets = 0

    def _on_all_devices(self, targets: Tensor | int, device: torch.device) -> Tensor:
        """Return the sum over all devices, at least 1."""
        count = torch.as_tensor(targets, dtype=torch.float32, device=device)
        total: Tensor = self._trainer.strategy.reduce(count, reduce_op="sum")
        return total.clamp(min=1)
