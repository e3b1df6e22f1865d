"""The parts of a model: embeddings, transformer layers, body and head."""

import re
from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedConfig

from lightune.models.transformers_internals import has_model_class

EMBEDDING_NAMES = re.compile(r"embed|\bw[tp]e\b|^shared\.|^encoder\.LayerNorm\.")
"""Names of weights below the lowest layer; the last alternative normalizes DeBERTa's relative positions."""

ATTENTION_DROPOUT_NAMES = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
"""Names that configurations give to the dropout of attention weights."""


def trainable_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters with ``requires_grad``."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters that have no pretrained values, which a task must learn.

    These are the weights that the checkpoint lacked, and a task's own head. The output layer of a pretrained language
    model lies outside the body too, but is pretrained: it belongs to the body here.
    """
    base: Any = getattr(model, "base_model", model)
    inside = {id(parameter) for parameter in base.parameters()}
    is_language_model = getattr(model, "get_output_embeddings", lambda: None)() is not None
    return [
        parameter
        for parameter in trainable_parameters(model)
        if getattr(parameter, "is_new", False) or not (is_language_model or id(parameter) in inside)
    ]


def body_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters outside the head."""
    head = {id(parameter) for parameter in head_parameters(model)}
    return [parameter for parameter in trainable_parameters(model) if id(parameter) not in head]


def embedding_parameters(base: Any) -> list[nn.Parameter]:
    """Return the trainable parameters below the lowest layer, and those that all layers share, such as positions."""
    in_layers = {id(parameter) for layer in transformer_layers(base) for parameter in layer.parameters()}
    found = [parameter for module in embedding_modules(base) for parameter in module.parameters()]
    found += [
        p for name, p in base.named_parameters() if EMBEDDING_NAMES.search(name) and id(p) not in in_layers
    ]
    return [parameter for parameter in dict.fromkeys(found) if parameter.requires_grad]


def embedding_modules(base: Any) -> list[nn.Module]:
    """Return the modules that turn token ids into the first layer's input, in the order in which they run."""
    names = {"embeddings", "embeddings_project"}
    return [module for name, module in base.named_children() if name in names] or [
        base.get_input_embeddings()
    ]


def transformer_layers(base: nn.Module) -> list[nn.Module]:
    """Return the transformer layers, from the lowest: the longest ModuleList in every supported architecture."""
    stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    longest = max(stacks, key=lambda stack: len(stack), default=nn.ModuleList())
    return list(longest)


def is_decoder_only(config: PreTrainedConfig) -> bool:
    """Tell causal language models such as GPT-2 from encoders, which fill masks, and from encoder-decoders."""
    is_causal = has_model_class(AutoModelForCausalLM, config) and not config.is_encoder_decoder
    return is_causal and not has_model_class(AutoModelForMaskedLM, config)
