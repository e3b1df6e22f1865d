"""Ways of tuning in which what moves changes while the run goes on."""

from typing import Any

from torch import nn

from lightune.common.bounds import Share
from lightune.common.errors import UserError
from lightune.models.parts import (
    body_parameters,
    embedding_parameters,
    trainable_parameters,
    transformer_layers,
)
from lightune.tuning.base import FreezeSchedule, Tuning


def gradual(model: nn.Module, *, share: Share) -> Tuning:
    """Begin with what stands above the layers; one layer after another joins, from the top, the embeddings last.

    Source: Howard and Ruder (2018), ULMFiT, where one joins each epoch.

    Args:
        model: in place.
        share: of all steps, over which they join at even distances.
    """
    base: Any = getattr(model, "base_model", model)
    _check_share(share)
    parts = [*map(trainable_parameters, reversed(transformer_layers(base))), embedding_parameters(base)]

    def frozen_at(done: float) -> list[nn.Parameter]:
        thawed = min(int(done / share * len(parts)), len(parts))
        return [parameter for part in parts[thawed:] for parameter in part]

    return Tuning(freeze_schedule=FreezeSchedule(model, frozen_at))


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
    rest = body_parameters(model)
    return Tuning(
        freeze_schedule=FreezeSchedule(model, lambda done: rest if done < share else [], probe_lr=probe_lr)
    )


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise UserError(f"tuning.share={share}: expected a share of all steps, above 0 and up to 1.")
