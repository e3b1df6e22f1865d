"""Which of the pretrained weights move. Options of ``conf/tuning`` are functions of this module, ``phases`` and ``adapters``."""

import re
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from lightune.common.errors import UserError
from lightune.models.parts import (
    body_parameters,
    embedding_parameters,
    head_parameters,
    trainable_parameters,
    transformer_layers,
)
from lightune.tuning.base import Tuning, freeze

if TYPE_CHECKING:
    pass


def full(model: nn.Module) -> Tuning:
    """Move every weight that the architecture lets move: models are loaded so, and some keep positions fixed."""
    return Tuning()


def frozen(model: nn.Module, *, num_layers: int | Literal["all"], pattern: str | None = None) -> Tuning:
    """Keep a part of the model as it was pretrained.

    What is frozen is put in eval mode: its dropout would only add noise to features that cannot adapt to it.

    Args:
        model: in place.
        num_layers: the embeddings and so many of the lowest transformer layers; ``all``: everything but the head.
        pattern: a regular expression; weights in whose names it is found, in place of ``num_layers``.

    Raises:
        UserError: the model has fewer layers than that, or no weight of such a name.
    """
    base: Any = getattr(model, "base_model", model)
    if pattern is not None:
        freeze(model, _named(model, pattern))
    elif num_layers == "all":
        freeze(model, body_parameters(model))
    else:
        layers = transformer_layers(base)
        if not isinstance(num_layers, int) or not 0 <= num_layers <= len(layers):
            raise UserError(
                f"tuning.num_layers={num_layers}: this model has {len(layers)} transformer layers.\n"
                f"Expected a number from 0 (embeddings only) to {len(layers)}, or all: everything but the head."
            )
        freeze(
            model,
            [
                p
                for part in [embedding_parameters(base), *map(trainable_parameters, layers[:num_layers])]
                for p in part
            ],
        )
    return Tuning()


def bitfit(model: nn.Module) -> Tuning:
    """Move the biases and the head alone (Ben Zaken et al., 2022). Dropout stays on.

    Raises:
        UserError: the architecture has no biases, as T5.
    """
    moving = {id(parameter) for parameter in head_parameters(model)}
    biases = {id(p) for name, p in model.named_parameters() if name.endswith("bias") and p.requires_grad}
    if not biases - moving:
        raise UserError(
            f"tuning=bitfit: {type(model).__name__} has no biases to move. Choose tuning=lora, frozen or full."
        )
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in moving | biases)
    return Tuning(trained_only=True)


def _named(model: nn.Module, pattern: str) -> list[nn.Parameter]:
    try:
        found = [p for name, p in model.named_parameters() if re.search(pattern, name)]
    except re.error as error:
        raise UserError(f"tuning.pattern={pattern} is no regular expression: {error}.") from error
    if not found:
        names = [name for name, _ in model.named_parameters()]
        raise UserError(
            f"tuning.pattern={pattern} is found in no name of a weight.\n"
            f"Names of this model: {names[0]}, {names[len(names) // 2]}, … {names[-1]}"
        )
    return found
