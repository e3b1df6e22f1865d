"""What every way of tuning builds on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from lightune.common.errors import UserError
from lightune.models.parts import trainable_parameters


@dataclass(frozen=True)
class Tuning:
    """What a task must know of the way in which its model is tuned.

    Args:
        trained_only: checkpoints hold the weights that are trained; the others are loaded again by their name.
        freeze_schedule: freezes and thaws while the run goes on.
    """

    trained_only: bool = False
    freeze_schedule: "FreezeSchedule | None" = None


Tune = Callable[[nn.Module], Tuning]


def freeze(model: nn.Module, parameters: Iterable[nn.Parameter]) -> None:
    """Freeze parameters, and put in eval mode every module that has no others."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def check_trainable(model: nn.Module) -> None:
    """Refuse to train a model that is frozen wholly.

    Raises:
        UserError: it is.
    """
    if not trainable_parameters(model):
        raise UserError(
            "tuning: nothing is left to train, and this model has no new head. Choose tuning=lora or full."
        )


class FreezeSchedule:
    """Freeze and thaw by the share of the steps that is done.

    Args:
        model: in place; whole until the run begins.
        frozen_at: returns what is frozen at a share, 0 to 1; never more than before.
        probe_lr: what is frozen at first stays so for long, and is worth computing once for each row; the rest has
            this learning rate until then, in place of the schedule's.
    """

    def __init__(
        self,
        model: nn.Module,
        frozen_at: Callable[[float], list[nn.Parameter]],
        *,
        probe_lr: float | None = None,
    ) -> None:
        self.model = model
        self.frozen_at = frozen_at
        self.probe_lr = probe_lr
        self._frozen: list[nn.Parameter] | None = None
        self._step = 0
        self._num_steps = 0  # that the run was started for: one that is prolonged freezes nothing again

    def begin(self, *, num_steps: int, world_size: int) -> None:
        """Freeze what does not move at first, or where a resumed run was stopped.

        Raises:
            UserError: there are several devices. DDP is told once which weights have gradients.
        """
        if world_size > 1:
            raise UserError(
                "tuning=gradual and linear_probe_then_full train on one device: trainer.devices=1"
            )
        self._num_steps = self._num_steps or num_steps
        self.go_to(self._step)

    def learning_rate(self) -> float | None:
        """Return the learning rate of the step that comes next where it is not the schedule's."""
        return self.probe_lr if self._frozen else None

    def go_to(self, step: int) -> None:
        """Freeze and thaw for a step that comes next."""
        frozen = self.frozen_at(step / self._num_steps)
        if self._frozen is not None and len(frozen) == len(self._frozen):
            return
        for parameter in self._frozen or []:
            parameter.requires_grad_(True)
        self.model.train()
        freeze(self.model, frozen)
        self._frozen = frozen

    def mean_frozen_share(self) -> float:
        """Return how much of what is frozen at first stays so, on average over a run: 1 all, 0 nothing.

        Counted in changes, not in weights: each is about a layer, whose work is the same.
        """
        sizes = [len(self.frozen_at(done)) for done in np.linspace(0, 1, 200, endpoint=False)]
        stages = sorted({*sizes, len(self.frozen_at(1.0))})
        return float(np.mean([stages.index(size) for size in sizes])) / max(1, len(stages) - 1)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Add the number of steps; Lightning saves the step."""
        checkpoint["phased_over"] = self._num_steps

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Go on where another process was stopped."""
        self._step, self._num_steps = checkpoint["global_step"], checkpoint["phased_over"]
