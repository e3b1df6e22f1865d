"""Freezing, once or by a schedule: what every way of tuning builds on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from lightune.common.errors import UserError
from lightune.models.model_parts import trainable_parameters
from lightune.tuning.contrastive import Contrastive


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a task must know of how its model is tuned."""

    # whether checkpoints hold the trained weights only; the others are loaded again from the pretrained model
    trained_only: bool = False
    freeze_schedule: "FreezeSchedule | None" = None
    # makes the frozen weights smaller before the model computes in a precision; what is exported is not changed
    compress: Callable[[nn.Module, str | int], None] | None = None
    # replaces the loss of a training step, and fits the head
    contrastive: Contrastive | None = None


Tune = Callable[[nn.Module], Tuning]


def freeze(model: nn.Module, parameters: Iterable[nn.Parameter]) -> None:
    """Freeze parameters, and put every module that has only frozen ones in eval mode."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def check_trainable(model: nn.Module) -> None:
    """Raise a UserError for a model without trainable parameters."""
    if not trainable_parameters(model):
        raise UserError("tuning: nothing is left to train, and this model has no new head. Choose tuning=lora or full.")


@dataclass(eq=False)
class FreezeSchedule:
    """Freeze and thaw parameters by the share of the steps that is done.

    Args:
        model: changed in place, from ``begin`` on.
        frozen_at: returns the parameters that are frozen at a share, 0 to 1; they never become more.
        probe_lr: the learning rate while any are frozen, in place of the schedule's. They stay frozen for long then,
            so that their output is worth keeping.
    """

    model: nn.Module
    frozen_at: Callable[[float], list[nn.Parameter]]
    probe_lr: float | None = field(default=None, kw_only=True)
    _frozen: list[nn.Parameter] | None = field(default=None, init=False)
    _step: int = field(default=0, init=False)
    # of the run as first started: resumed with more steps, it freezes nothing again
    _num_steps: int = field(default=0, init=False)

    def begin(self, *, num_steps: int, world_size: int) -> None:
        """Freeze what is frozen at the first step, or at the step where a resumed run stopped.

        Raises:
            UserError: there are several devices: DDP must know from the start which weights have gradients.
        """
        if world_size > 1:
            raise UserError("tuning=gradual and linear_probe_then_full train on one device: trainer.devices=1")
        self._num_steps = self._num_steps or num_steps
        self.go_to(self._step)

    def learning_rate(self) -> float | None:
        """Return the next step's learning rate where it is not the schedule's."""
        return self.probe_lr if self._frozen else None

    def go_to(self, step: int) -> None:
        """Freeze and thaw for the given step, before it is taken."""
        frozen = self.frozen_at(step / self._num_steps)
        if self._frozen is not None and len(frozen) == len(self._frozen):
            return
        for parameter in self._frozen or []:
            parameter.requires_grad_(True)
        self.model.train()
        freeze(self.model, frozen)
        self._frozen = frozen

    def mean_frozen_share(self) -> float:
        """Return the share of the initially frozen layers that is frozen on average over a run, 0 to 1.

        Each change of the frozen parameters counts as one layer: the work of all layers is about the same.
        """
        sizes = [len(self.frozen_at(done)) for done in np.linspace(0, 1, 200, endpoint=False)]
        stages = sorted({*sizes, len(self.frozen_at(1.0))})
        return float(np.mean([stages.index(size) for size in sizes])) / max(1, len(stages) - 1)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Add the number of steps to a checkpoint; Lightning adds the current step."""
        checkpoint["phased_over"] = self._num_steps

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._step, self._num_steps = checkpoint["global_step"], checkpoint["phased_over"]
