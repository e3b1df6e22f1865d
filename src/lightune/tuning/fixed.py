"""Which of the pretrained weights move. Options of ``conf/tuning`` are functions of this module, ``phases`` and ``adapters``."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from lightune.common.errors import UserError

if TYPE_CHECKING:
    from lightune.tuning.phased import Phases

EMBEDDINGS = re.compile(r"embed|\bw[tp]e\b|^shared\.|^encoder\.LayerNorm\.")
"""Weights below the lowest layer, by name; the last is what DeBERTa's relative positions go through."""


@dataclass(frozen=True)
class Tuning:
    """What a task must know of the way in which its model is tuned.

    Args:
        trained_only: checkpoints hold the weights that are trained; the others are loaded again by their name.
        phases: freezes and thaws while the run goes on.
    """

    trained_only: bool = False
    phases: "Phases | None" = None


Tune = Callable[[nn.Module], Tuning]


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
        freeze(model, body(model))
    else:
        layers = transformer_layers(base)
        if not isinstance(num_layers, int) or not 0 <= num_layers <= len(layers):
            raise UserError(
                f"tuning.num_layers={num_layers}: this model has {len(layers)} transformer layers.\n"
                f"Expected a number from 0 (embeddings only) to {len(layers)}, or all: everything but the head."
            )
        freeze(model, [p for part in [below(base), *map(weights, layers[:num_layers])] for p in part])
    return Tuning()


def bitfit(model: nn.Module) -> Tuning:
    """Move the biases and the head alone (Ben Zaken et al., 2022). Dropout stays on.

    Raises:
        UserError: the architecture has no biases, as T5.
    """
    moving = {id(parameter) for parameter in head(model)}
    biases = {id(p) for name, p in model.named_parameters() if name.endswith("bias") and p.requires_grad}
    if not biases - moving:
        raise UserError(
            f"tuning=bitfit: {type(model).__name__} has no biases to move. Choose tuning=lora, frozen or full."
        )
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in moving | biases)
    return Tuning(trained_only=True)


def freeze(model: nn.Module, parameters: Iterable[nn.Parameter]) -> None:
    """Freeze parameters, and put in eval mode every module that has no others."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def weights(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that move."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def body(model: nn.Module) -> list[nn.Parameter]:
    """Return all but the head."""
    above = {id(parameter) for parameter in head(model)}
    return [parameter for parameter in weights(model) if id(parameter) not in above]


def below(base: Any) -> list[nn.Parameter]:
    """Return what the lowest layer's input is made of, and what the layers read beside it."""
    inner = {id(parameter) for layer in transformer_layers(base) for parameter in layer.parameters()}
    named = [p for name, p in base.named_parameters() if EMBEDDINGS.search(name) and id(p) not in inner]
    first = [parameter for module in embeddings(base) for parameter in module.parameters()]
    return [p for p in {id(p): p for p in [*first, *named]}.values() if p.requires_grad]


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


def check_something_moves(model: nn.Module) -> None:
    """Refuse to train a model that is frozen wholly.

    Raises:
        UserError: it is.
    """
    if not weights(model):
        raise UserError(
            "tuning: nothing is left to train, and this model has no new head. Choose tuning=lora or full."
        )


def head(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that a task must learn: the pretrained checkpoint lacked them, or its head is the task's own.

    A language model's head is none of these where it was pretrained: it stands outside the body too, but is as much a
    part of what was learned.
    """
    base: Any = getattr(model, "base_model", model)
    body = {id(parameter) for parameter in base.parameters()}
    outputs = getattr(model, "get_output_embeddings", lambda: None)()
    return [
        parameter
        for parameter in model.parameters()
        if parameter.requires_grad
        and (getattr(parameter, "is_new", False) or (outputs is None and id(parameter) not in body))
    ]


def embeddings(base: Any) -> list[nn.Module]:
    """Return what turns token indices into the first layer's input, in the order in which it runs."""
    return [
        module for name, module in base.named_children() if name in {"embeddings", "embeddings_project"}
    ] or [base.get_input_embeddings()]


def transformer_layers(base: nn.Module) -> list[nn.Module]:
    """Find the stack of equal blocks: the longest ModuleList in any of the supported architectures."""
    stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    longest = max(stacks, key=lambda stack: len(stack), default=nn.ModuleList())
    return list(longest)
