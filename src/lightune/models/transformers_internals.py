"""The private names of transformers that this package reads; no other module uses one."""

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel


def has_model_class(auto_class: Any, config: PreTrainedConfig) -> bool:
    """Say whether an auto class, such as ``AutoModelForTokenClassification``, knows the architecture of a configuration."""
    return type(config) in auto_class._model_mapping


def model_class(auto_class: Any, config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Return the class that an auto class loads for a configuration; where there are several, the first.

    Raises:
        KeyError: it does not know the architecture, see :func:`has_model_class`.
    """
    classes: Any = auto_class._model_mapping[type(config)]
    first: type[PreTrainedModel] = classes[0] if isinstance(classes, tuple) else classes
    return first


def attention_implementation(model: PreTrainedModel) -> str | None:
    """Return the name of a model's attention function, such as ``sdpa`` or ``eager``."""
    name: str | None = model.config._attn_implementation
    return name
