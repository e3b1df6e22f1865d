"""The gradient of a step over several micro-batches or devices."""

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

# The float16 gradient of a sum over thousands of targets would overflow. A power of two changes no digit.
UNIT = 1024.0


class TargetMean:
    """Make the loss of a step the mean over all its targets, however they fall into micro-batches and on devices.

    Lightning alone would give each micro-batch the same weight. Each loss is therefore turned into a sum, and the
    gradient is divided by the number of targets before the optimizer steps.
    """

    def __init__(self) -> None:
        self._micro_batches = 1  # on all devices
        self._accumulated = 1
        self._targets: Tensor | int = 0  # since the last step

    def start_batch(self, trainer: Trainer) -> None:
        """Read how many micro-batches a step has."""
        self._accumulated = trainer.accumulate_grad_batches
        self._micro_batches = trainer.world_size * self._accumulated

    def sum(self, mean: Tensor, targets: Tensor | int) -> Tensor:
        """Return the loss to differentiate: a sum over targets in ``UNIT``, or the mean itself where it is the only one."""
        if self._micro_batches == 1:
            return mean
        self._targets = self._targets + targets
        return mean * targets * (self._accumulated / UNIT)  # Lightning divides by the first

    def scale_gradients(self, module: LightningModule) -> None:
        """Turn the gradient of a sum, averaged over devices, into that of the mean over all targets."""
        if self._micro_batches == 1:
            return
        count = torch.as_tensor(self._targets, dtype=torch.float32, device=module.device)
        total = module.trainer.strategy.reduce(count, reduce_op="sum")
        scale = UNIT * module.trainer.world_size / torch.where(total > 0, total, 1)
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(scale)
        self._targets = 0
