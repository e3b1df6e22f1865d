"""A smaller model from a larger one: some of its layers, evenly spaced."""

from typing import Any

import torch
from torch import nn
from transformers import EncoderDecoderModel, PreTrainedModel

from lightune.common.errors import UserError
from lightune.models.model_parts import layer_stacks

# the number of layers of a stack in configurations
COUNT_NAMES = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers")


def evenly_spaced(num_layers: int, *, total: int) -> list[int]:
    """Return the indices of the layers to keep: the first, the last, and others evenly between; of one, the first.

    Sources: DistilBERT starts from these six of twelve (Sanh et al., 2019); Shleifer and Rush (2020), Pre-trained
    Summarization Distillation, from these of any number.
    """
    return [round(index * (total - 1) / max(1, num_layers - 1)) for index in range(num_layers)]


def keep_layers(model: PreTrainedModel, num_layers: int) -> None:
    """Reduce a model and its configuration to ``num_layers`` layers, in place; both stacks of an encoder-decoder.

    Raises:
        UserError: a stack has fewer layers than that, or the architecture is not a stack of equal layers.
    """
    if isinstance(model, EncoderDecoderModel):
        for part in (model.encoder, model.decoder):
            keep_layers(part, num_layers)
        return
    config: Any = model.config
    counts = {n: getattr(config, n) for n in COUNT_NAMES if isinstance(getattr(config, n, None), int)}
    total = min(counts.values(), default=0)
    if num_layers > total:
        raise UserError(
            f"model.num_hidden_layers={num_layers}: this model has {total} layers.\nExpected at most {total}."
        )
    # such as full and sliding attention
    layer_types = getattr(config, "layer_types", None)
    for name, stack in layer_stacks(model).items():
        if len(stack) in counts.values():
            layers = nn.ModuleList(stack[index] for index in evenly_spaced(num_layers, total=len(stack)))
            model.set_submodule(name, layers)
            for index, layer in enumerate(layers):
                # generation stores keys and values by it
                for module in layer.modules():
                    if hasattr(module, "layer_idx"):
                        module.layer_idx = index  # type: ignore[assignment]
    for name in counts:
        setattr(config, name, num_layers)
    if layer_types is not None:
        indices = evenly_spaced(num_layers, total=len(layer_types))
        config.layer_types = [layer_types[index] for index in indices]
    with torch.device("meta"):
        expected = type(model)(config)
    if _shapes(model) != _shapes(expected):
        raise UserError(
            f"model.num_hidden_layers={num_layers}: no layers can be left out of {type(model).__name__}.\n"
            "Choose a smaller model."
        )


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}
