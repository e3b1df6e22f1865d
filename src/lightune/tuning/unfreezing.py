"""Ways of tuning that thaw frozen weights during the run; ``conf/tuning`` names them."""

from torch import nn

from lightune.common.bounds import Share
from lightune.common.errors import UserError
from lightune.models import model_parts
from lightune.tuning.base import FreezeSchedule, Tuning


def gradual(model: nn.Module, *, share: Share = 0.5) -> Tuning:
    """Train the weights above the layers first, then thaw the layers from the top, and the embeddings last.

    They thaw at equal intervals over a share of all steps. Source: Howard and Ruder (2018), ULMFiT, one each epoch.

    Raises:
        UserError: a share out of bounds.
    """
    _check_share(share)
    layers = map(model_parts.trainable_parameters, reversed(model_parts.transformer_layers(model)))
    stages = [*layers, model_parts.embedding_parameters(model)]

    def frozen_at(done: float) -> list[nn.Parameter]:
        thawed = min(int(done / share * len(stages)), len(stages))
        return [parameter for stage in stages[thawed:] for parameter in stage]

    return Tuning(freeze_schedule=FreezeSchedule(model, frozen_at))


def linear_probe_then_full(model: nn.Module, *, share: Share = 0.2, probe_lr: float = 1e-3) -> Tuning:
    """Train the head alone until it fits the pretrained features, then everything (Kumar et al., 2022, LP-FT).

    Args:
        model: changed in place.
        share: of all steps, for the head alone.
        probe_lr: learning rate of the head alone; afterwards the schedule's applies, from the step that it has reached.

    Raises:
        UserError: a share or a learning rate out of bounds.
    """
    _check_share(share)
    if not probe_lr > 0:
        raise UserError(f"tuning.probe_lr={probe_lr}: expected a learning rate above 0, such as 1e-3.")
    body = model_parts.body_parameters(model)
    schedule = FreezeSchedule(model, lambda done: body if done < share else [], probe_lr=probe_lr)
    return Tuning(freeze_schedule=schedule)


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise UserError(f"tuning.share={share}: expected a share of all steps, above 0 and up to 1.")
