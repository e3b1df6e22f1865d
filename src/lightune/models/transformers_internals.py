"""The private names of transformers that this package reads; no other module uses one."""

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel


def has_model_class(auto_class: Any, config: PreTrainedConfig) -> bool:
    """Say whether an auto class, such as ``AutoModelForTokenClassification``, knows a configuration's architecture."""
    return type(config) in auto_class._model_mapping


def attention_implementation(model: PreTrainedModel) -> str | None:
    """Return the name of a model's attention function, such as ``sdpa`` or ``eager``."""
    name: str | None = model.config._attn_implementation
    return name
