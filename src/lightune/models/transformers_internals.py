"""The private names of transformers that this package reads; no other module uses one."""

import json
from typing import Any

from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def has_model_class(auto_class: Any, config: PreTrainedConfig) -> bool:
    """Say whether an auto class, such as ``AutoModelForTokenClassification``, knows a configuration's architecture."""
    return type(config) in auto_class._model_mapping


def attention_implementation(model: PreTrainedModel) -> str | None:
    """Return the name of a model's attention function, such as ``sdpa`` or ``eager``."""
    name: str | None = model.config._attn_implementation
    return name


def initialize(model: PreTrainedModel, part: nn.Module) -> None:
    """Give a part of a model new weights, as transformers does to those that a checkpoint lacks."""
    for parameter in part.parameters():
        setattr(parameter, "_is_hf_initialized", False)  # noqa: B010 - mypy knows no such attribute
    part.apply(model._init_weights)


def drop_added_tokens(tokenizer: PreTrainedTokenizerBase, *, start: int) -> None:
    """Take the added tokens with ids from ``start`` on out of a tokenizer, in place."""
    if any(index >= start for index in tokenizer.added_tokens_decoder):
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        backend["added_tokens"] = [token for token in backend["added_tokens"] if token["id"] < start]
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(backend))
