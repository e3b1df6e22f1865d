"""Fewer layers than the checkpoint has, evenly spaced, or new ones at the top."""

from typing import Any

import torch
from torch import nn
from transformers import EncoderDecoderModel, PreTrainedModel

from lightune.common.errors import UserError
from lightune.models.model_parts import layer_stacks, transformer_layers
from lightune.models.transformers_internals import initialize

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
    _check_number(num_layers, "num_hidden_layers", total)
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
    # such as full and sliding attention
    if (kinds := getattr(config, "layer_types", None)) is not None:
        config.layer_types = [kinds[index] for index in evenly_spaced(num_layers, total=len(kinds))]
    with torch.device("meta"):
        expected = type(model)(config)
    shapes = [{name: tensor.shape for name, tensor in each.state_dict().items()} for each in (model, expected)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"model.num_hidden_layers={num_layers}: no layers can be left out of {type(model).__name__}.\n"
            "Choose a smaller model."
        )


def reinit_layers(model: PreTrainedModel, num_layers: int) -> set[str]:
    """Give the top ``num_layers`` layers new weights, in place; return the names of these, or raise a UserError for too few.

    Source: Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning: these layers suit the pretraining's own task most.
    """
    layers = transformer_layers(model)
    _check_number(num_layers, "reinit_layers", len(layers))
    top = nn.ModuleList(layers[-num_layers:])
    initialize(model, top)
    new = set(top.parameters())
    return {name for name, parameter in model.named_parameters() if parameter in new}


def _check_number(number: int, option: str, total: int) -> None:
    if number > total:
        raise UserError(f"model.{option}={number}: this model has {total} layers.\nExpected at most {total}.")
