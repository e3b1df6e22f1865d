"""Ways of tuning in which what moves changes while the run goes on."""

from collections.abc import Callable
from typing import Any

from torch import nn

from finetune.errors import UserError
from finetune.tuning import Tuning, below, body, freeze, transformer_layers, weights


def gradual(model: nn.Module, *, share: float) -> Tuning:
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

    return Tuning(phase=_phases(model, frozen_at))


def linear_probe_then_full(model: nn.Module, *, share: float) -> Tuning:
    """Move the head alone until it fits the pretrained features, then everything (Kumar et al., 2022, LP-FT).

    Args:
        model: in place.
        share: of all steps, for the head alone.
    """
    _check_share(share)
    rest = body(model)
    return Tuning(phase=_phases(model, lambda done: rest if done < share else []))


def _phases(model: nn.Module, frozen_at: Callable[[float], list[nn.Parameter]]) -> Callable[[float], None]:
    before: list[nn.Parameter] | None = None

    def phase(done: float) -> None:
        nonlocal before
        now = frozen_at(done)
        if before is not None and len(now) == len(before):
            return
        for parameter in before or []:
            parameter.requires_grad_(True)
        model.train()
        freeze(model, now)
        before = now

    return phase


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise UserError(f"tuning.share={share}: expected a share of all steps, above 0 and up to 1.")
