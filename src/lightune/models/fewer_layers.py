"""A smaller model out of a larger one: some of its layers, evenly taken."""

from typing import Any

import torch
from torch import nn
from transformers import EncoderDecoderModel, PreTrainedModel

from lightune.common.errors import UserError

COUNTS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers")
"""What configurations call the number of layers of a stack."""


def evenly(num_layers: int, *, of: int) -> list[int]:
    """Return which layers are kept: the first, the last, and those between as evenly as can be; of one, the first.

    Sources: DistilBERT starts from these six of twelve (Sanh et al., 2019); Shleifer and Rush (2020), Pre-trained
    Summarization Distillation, from these of any number.
    """
    return [round(index * (of - 1) / max(1, num_layers - 1)) for index in range(num_layers)]


def keep_layers(model: PreTrainedModel, num_layers: int) -> None:
    """Leave a model so many layers, in place; of an encoder-decoder, each of its two stacks.

    The configuration then says so: what is saved with it is a plain model of its architecture.

    Raises:
        UserError: a stack has fewer layers than that, or the architecture is not made of equal ones.
    """
    if isinstance(model, EncoderDecoderModel):
        for part in (model.encoder, model.decoder):
            keep_layers(part, num_layers)
        return
    config: Any = model.config
    counts = {name: getattr(config, name) for name in COUNTS if isinstance(getattr(config, name, None), int)}
    if num_layers > min(counts.values(), default=0):
        raise UserError(
            f"model.num_hidden_layers={num_layers}: this model has {min(counts.values(), default=0)} layers.\n"
            "Expected as many or fewer."
        )
    kinds = getattr(config, "layer_types", None)
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    for name, stack in lists:
        inside = any(name.startswith(f"{other}.") for other, _ in lists)  # a layer may be a list of its parts
        if len(stack) in counts.values() and not inside:
            layers = nn.ModuleList(stack[index] for index in evenly(num_layers, of=len(stack)))
            model.set_submodule(name, layers)
            _number(layers)
    for name in counts:
        setattr(config, name, num_layers)
    if kinds is not None:  # such as full and sliding attention
        config.layer_types = [kinds[index] for index in evenly(num_layers, of=len(kinds))]
    with torch.device("meta"):
        expected = type(model)(config).state_dict()
    if {n: t.shape for n, t in model.state_dict().items()} != {n: t.shape for n, t in expected.items()}:
        raise UserError(
            f"model.num_hidden_layers={num_layers}: {type(model).__name__} is not made of layers that can be left out.\n"
            "Choose a smaller model."
        )


def _number(layers: nn.ModuleList) -> None:
    """Say to each layer which it is now: generation keeps keys and values by that."""
    for index, layer in enumerate(layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                setattr(module, "layer_idx", index)  # noqa: B010 - to mypy a module holds modules and tensors
