"""Ways of tuning that freeze the same weights for the whole run; ``conf/tuning`` names them."""

import re
from typing import Literal

from torch import nn

from lightune.common.errors import UserError
from lightune.data.preprocessors.labels import MULTI, SINGLE
from lightune.models import model_parts
from lightune.models.label_rows import output_layer
from lightune.tuning.base import Tuning, freeze
from lightune.tuning.contrastive import Contrastive


def full(model: nn.Module) -> Tuning:
    """Train every weight that is trainable as loaded: some architectures have fixed positions."""
    return Tuning()


def frozen(model: nn.Module, *, num_layers: int | Literal["all"] = 3, pattern: str | None = None) -> Tuning:
    """Freeze a part of the model, and put it in eval mode: its dropout would only add noise.

    Args:
        model: changed in place.
        num_layers: number of the lowest layers to freeze, unless they are new, and the embeddings; ``all``: all but the head.
        pattern: a regular expression; freezes the weights in whose names it is found, in place of ``num_layers``.

    Raises:
        UserError: the model has fewer layers, or no weight with such a name.
    """
    if pattern is not None:
        freeze(model, _named(model, pattern))
    elif num_layers == "all":
        freeze(model, model_parts.body_parameters(model))
    else:
        layers = model_parts.transformer_layers(model)
        if not isinstance(num_layers, int) or not 0 <= num_layers <= len(layers):
            raise UserError(
                f"tuning.num_layers={num_layers}: this model has {len(layers)} transformer layers.\n"
                f"Expected a number from 0 (embeddings only) to {len(layers)}, or all: everything but the head."
            )
        in_layers = {parameter for layer in layers[:num_layers] for parameter in layer.parameters()}
        freeze(model, in_layers & {*model_parts.body_parameters(model)} | {*model_parts.embedding_parameters(model)})
    return Tuning()


def bitfit(model: nn.Module) -> Tuning:
    """Train the biases and the head only (Ben Zaken et al., 2022), dropout on; a UserError for no biases, as in T5."""
    head = set(model_parts.head_parameters(model))
    biases = {p for name, p in model.named_parameters() if name.endswith("bias") and p.requires_grad}
    if not biases - head:
        raise UserError(
            f"tuning=bitfit: {type(model).__name__} has no biases to move. Choose tuning=lora, frozen or full."
        )
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in head | biases)
    return Tuning(trained_only=True)


def contrastive(model: nn.Module) -> Tuning:
    """Train the body on pairs of rows, and fit the head to its frozen states before each validation.

    Source: Tunstall et al. (2022), Efficient Few-Shot Learning Without Prompts (SetFit). There each pair is read alone; here
    all rows of a batch are paired, so that a row is read once for its pairs with all others, and memory does not grow.

    Raises:
        UserError: the model is not one for texts with labels, or its head ends in no linear layer.
    """
    if getattr(model.config, "problem_type", None) not in (SINGLE, MULTI):
        raise UserError(
            "tuning=contrastive compares texts by their labels.\nIt needs task=text_classification, and labels."
        )
    if (found := output_layer(model)) is None:
        raise UserError(
            "tuning=contrastive: this head ends in no linear layer.\nLeave task.head out: model.pooling=mean"
        )
    freeze(model, found[1].parameters())
    return Tuning(contrastive=Contrastive(found[1]))


def _named(model: nn.Module, pattern: str) -> list[nn.Parameter]:
    try:
        matches = [parameter for name, parameter in model.named_parameters() if re.search(pattern, name)]
    except re.error as error:
        raise UserError(f"tuning.pattern={pattern} is no regular expression: {error}.") from error
    if not matches:
        names = [name for name, _ in model.named_parameters()]
        raise UserError(
            f"tuning.pattern={pattern} is found in no name of a weight.\n"
            f"Names of this model: {names[0]}, {names[len(names) // 2]}, … {names[-1]}"
        )
    return matches
