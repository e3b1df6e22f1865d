"""Which of the pretrained weights move. An option of ``conf/tuning`` is a function of this module or of ``adapters``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from finetune.errors import UserError


@dataclass(frozen=True)
class Tuning:
    """What a task must know of the way in which its model is tuned.

    Args:
        trained_only: checkpoints hold the weights that are trained; the others are loaded again by their name.
    """

    trained_only: bool = False


Tune = Callable[[nn.Module], Tuning]


def full(model: nn.Module) -> Tuning:
    """Move every weight that the architecture lets move: models are loaded so, and some keep positions fixed."""
    return Tuning()


def frozen(model: nn.Module, *, num_layers: int) -> Tuning:
    """Keep the embeddings and the lowest ``num_layers`` transformer layers as they were pretrained.

    What is frozen is put in eval mode: its dropout would only add noise to features that cannot adapt to it.

    Raises:
        UserError: the model has fewer layers than that.
    """
    base: Any = getattr(model, "base_model", model)
    layers = transformer_layers(base)
    if not 0 <= num_layers <= len(layers):
        raise UserError(
            f"tuning.num_layers={num_layers}: this model has {len(layers)} transformer layers.\n"
            f"Expected a number from 0 (embeddings only) to {len(layers)} (all but the head)."
        )
    for module in [*embeddings(base), *layers[:num_layers]]:
        module.requires_grad_(False)
        module.eval()
    return Tuning()


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
