"""The private names of transformers that this package reads; no other module uses one."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel


def has_model_class(auto_class: Any, config: PreTrainedConfig) -> bool:
    """Say whether an auto class, such as ``AutoModelForTokenClassification``, knows a configuration's architecture."""
    return type(config) in auto_class._model_mapping


def attention_implementation(model: PreTrainedModel) -> str | None:
    """Return the name of a model's attention function, such as ``sdpa`` or ``eager``."""
    name: str | None = model.config._attn_implementation
    return name


def read_gguf_header(file: Path) -> tuple[int, str | None]:
    """Return the size in bytes that a complete GGUF file has, and its ``tokenizer.ggml.pre``.

    Raises:
        Exception: it is no GGUF file, or it ends within its header.
    """
    from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

    header = GgufHeader.from_file(str(file))
    end = header.data_start + max((tensor.offset + tensor.nbytes for tensor in header.tensors), default=0)
    return end, read_gguf_metadata(str(file))[0].get("tokenizer.ggml.pre")
