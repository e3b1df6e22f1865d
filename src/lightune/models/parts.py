"""The parts of a model: embeddings, layers, body, head."""

import re
from typing import Any

from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedConfig,
)

EMBEDDINGS = re.compile(r"embed|\bw[tp]e\b|^shared\.|^encoder\.LayerNorm\.")
"""Weights below the lowest layer, by name; the last is what DeBERTa's relative positions go through."""


def trainable_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that move."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def body_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return all but the head."""
    above = {id(parameter) for parameter in head_parameters(model)}
    return [parameter for parameter in trainable_parameters(model) if id(parameter) not in above]


def embedding_parameters(base: Any) -> list[nn.Parameter]:
    """Return what the lowest layer's input is made of, and what the layers read beside it."""
    inner = {id(parameter) for layer in transformer_layers(base) for parameter in layer.parameters()}
    named = [p for name, p in base.named_parameters() if EMBEDDINGS.search(name) and id(p) not in inner]
    first = [parameter for module in embedding_modules(base) for parameter in module.parameters()]
    return [p for p in {id(p): p for p in [*first, *named]}.values() if p.requires_grad]


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
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


def embedding_modules(base: Any) -> list[nn.Module]:
    """Return what turns token indices into the first layer's input, in the order in which it runs."""
    return [
        module for name, module in base.named_children() if name in {"embeddings", "embeddings_project"}
    ] or [base.get_input_embeddings()]


def transformer_layers(base: nn.Module) -> list[nn.Module]:
    """Find the stack of equal blocks: the longest ModuleList in any of the supported architectures."""
    stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    longest = max(stacks, key=lambda stack: len(stack), default=nn.ModuleList())
    return list(longest)


ATTENTION_DROPOUT_NAMES = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
"""What configurations call the dropout of attention weights."""


def is_decoder_only(config: PreTrainedConfig) -> bool:
    """Tell models such as GPT-2 from encoders, which fill masks, and from encoder-decoders."""
    kind = type(config)
    return (
        kind in AutoModelForCausalLM._model_mapping
        and kind not in AutoModelForMaskedLM._model_mapping
        and not config.is_encoder_decoder
    )
