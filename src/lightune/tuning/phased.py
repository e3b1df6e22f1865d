"""Ways of tuning in which what moves changes while the run goes on."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from lightune.common.errors import UserError
from lightune.config.options import Share
from lightune.tuning.fixed import Tuning, below, body, freeze, transformer_layers, weights


class Phases:
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

    def share_unthawed(self) -> float:
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


def gradual(model: nn.Module, *, share: Share) -> Tuning:
    """Begin with what stands above the layers; one layer after another joins, from the top, the embeddings last.

    Source: Howard and Ruder (2018), ULMFiT, where one joins each epoch.

    Args:
        model: in place.
        share: of all steps, over which they join at even distances.
    """
    base: Any = getattr(model, "base_model", model)
    _check_share(share)
    parts = [*map(weights, reversed(transformer_layers(base))), below(base)]

    def frozen_at(done: float) -> list[nn.Parameter]:
        thawed = min(int(done / share * len(parts)), len(parts))
        return [parameter for part in parts[thawed:] for parameter in part]

    return Tuning(phases=Phases(model, frozen_at))


def linear_probe_then_full(model: nn.Module, *, share: Share, probe_lr: float) -> Tuning:
    """Move the head alone until it fits the pretrained features, then everything (Kumar et al., 2022, LP-FT).

    Args:
        model: in place.
        share: of all steps, for the head alone.
        probe_lr: learning rate of the head alone; then comes the schedule, as far as it has gone.

    Raises:
        UserError: a share or a learning rate out of bounds.
    """
    _check_share(share)
    if not probe_lr > 0:
        raise UserError(f"tuning.probe_lr={probe_lr}: expected a learning rate above 0, such as 1e-3.")
    rest = body(model)
    return Tuning(phases=Phases(model, lambda done: rest if done < share else [], probe_lr=probe_lr))


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise UserError(f"tuning.share={share}: expected a share of all steps, above 0 and up to 1.")
