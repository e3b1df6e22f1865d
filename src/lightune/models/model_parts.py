"""The parts of a model: embeddings, transformer layers, body and head."""

import re
from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, EncoderDecoderModel, PreTrainedConfig

from lightune.models.transformers_internals import has_model_class

# weights below the lowest layer; the last ones are of DeBERTa's and MPNet's relative positions
EMBEDDING_NAMES = re.compile(r"emb|\bw[tp]e\b|^shared\.|^encoder\.(LayerNorm|relative_attention_bias)\.")
# the dropouts of attention weights and of hidden states in configurations
DROPOUT_NAMES = {
    "attention": ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop"),
    "hidden": ("hidden_dropout_prob", "hidden_dropout", "dropout", "dropout_rate", "resid_pdrop", "embd_pdrop"),
}


def set_dropout(config: PreTrainedConfig, **probabilities: float | None) -> None:
    """Set a configuration's dropout of ``attention`` weights or ``hidden`` states; None leaves it as it is."""
    for kind, probability in probabilities.items():
        for name in DROPOUT_NAMES[kind]:
            if probability is not None and hasattr(config, name):
                setattr(config, name, probability)


def trainable_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters with ``requires_grad``."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def base_model(model: nn.Module) -> Any:
    """Return a model without its head, such as the ``BertModel`` of a ``BertForMaskedLM``."""
    return getattr(model, "base_model", model)


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters without pretrained values: those that the checkpoint lacked, and a task's own head.

    The output layer of a pretrained language model is pretrained, though outside the base model: it is not among them.
    """
    in_base = {id(parameter) for parameter in base_model(model).parameters()}
    is_language_model = getattr(model, "get_output_embeddings", lambda: None)() is not None
    return [
        parameter
        for parameter in trainable_parameters(model)
        if getattr(parameter, "is_new", False) or not (is_language_model or id(parameter) in in_base)
    ]


def body_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters outside the head."""
    head = set(head_parameters(model))
    return [parameter for parameter in trainable_parameters(model) if parameter not in head]


def embedding_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters below the lowest layer, and those that all layers share, such as positions."""
    in_layers = {parameter for layer in transformer_layers(model) for parameter in layer.parameters()}
    found = [parameter for module in embedding_modules(model) for parameter in module.parameters()]
    named = base_model(model).named_parameters()
    found += [weight for name, weight in named if EMBEDDING_NAMES.search(name) and weight not in in_layers]
    return [parameter for parameter in dict.fromkeys(found) if parameter.requires_grad]


def embedding_modules(model: nn.Module) -> list[nn.Module]:
    """Return the modules that turn token ids into the first layer's input, in the order in which they run."""
    base, names = base_model(model), {"embeddings", "embeddings_project"}
    return [module for name, module in base.named_children() if name in names] or [base.get_input_embeddings()]


def layer_stacks(model: nn.Module) -> dict[str, nn.ModuleList]:
    """Return the outermost lists of modules by name; a list within a layer holds the layer's parts."""
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    return {name: found for name, found in lists.items() if not any(name.startswith(f"{other}.") for other in lists)}


def transformer_layers(model: nn.Module) -> list[nn.Module]:
    """Return the transformer layers, from the lowest: the longest stack, of an encoder-decoder the encoder's.

    XLM has a stack for each kind of part instead: a layer is then a list of parts.
    """
    stacks = layer_stacks(base_model(model))
    names = [name for name in stacks if not name.startswith("decoder.")] or [*stacks]
    if not names:
        return []
    longest = max(names, key=lambda name: len(stacks[name]))
    parent, stack = longest.rpartition(".")[0], stacks[longest]
    parts = [stacks[n] for n in names if n.rpartition(".")[0] == parent and len(stacks[n]) == len(stack)]
    if len(parts) > 1:
        return [nn.ModuleList(layer) for layer in zip(*parts, strict=True)]
    # Funnel has a list for each block
    return [layer for block in stack for layer in (block if isinstance(block, nn.ModuleList) else [block])]


def first_position(model: nn.Module) -> int:
    """Return the number of a text's first position: 0, or the one after the padding token's id, as in RoBERTa."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0


def max_positions(model: nn.Module) -> int | None:
    """Return how many tokens a model has positions for; None where nothing limits them, as in T5."""
    if isinstance(model, EncoderDecoderModel):
        return max_positions(model.decoder)
    config: Any = base_model(model).config
    names = ("max_position_embeddings", "max_encoder_position_embeddings")
    positions = next((number for name in names if (number := getattr(config, name, None))), -1)
    # XLNet says -1, and DeBERTa's positions are relative unless its input has some too
    if positions < 0 or not getattr(config, "position_biased_input", True):
        return None
    return int(positions) - first_position(model)


def is_decoder_only(config: PreTrainedConfig) -> bool:
    """Tell causal language models such as GPT-2 from encoders, which fill masks, and from encoder-decoders."""
    is_causal = has_model_class(AutoModelForCausalLM, config) and not config.is_encoder_decoder
    return is_causal and not has_model_class(AutoModelForMaskedLM, config)
