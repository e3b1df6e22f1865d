"""A GGUF file, llama.cpp's format: configuration, tokenizer and weights in one, which transformers reads for training."""

import struct
from contextlib import redirect_stderr
from functools import lru_cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers.pre_tokenizers import Digits, Sequence
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig

from lightune.common.errors import UserError
from lightune.models.transformers_internals import drop_added_tokens
from lightune.models.weights import check_fetched, damaged

# tokenizers (tokenizer.ggml.pre) that split numbers into digits before all else; transformers reads them as GPT-2's
SINGLE_DIGITS = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"}


def load(auto_class: Any, file: Path, **settings: Any) -> Any:
    """Load by an auto class what the file alone holds; the weights of a model become its ``dtype``, and can be saved.

    Raises:
        UserError: the file was cut off, or the package gguf is missing.
        Exception: transformers cannot read the file.
    """
    metadata = _check(file)
    if auto_class is AutoConfig:
        config = _config(file, file.stat().st_mtime_ns)
        return type(config).from_dict(config.to_diff_dict(), **settings)
    loaded = _read(auto_class, file, **settings)
    if auto_class is AutoTokenizer:
        # one that transformers expects of GPT-2's tokenizers, beyond what the model embeds
        drop_added_tokens(loaded, start=metadata["tokenizer.ggml.tokens"])
        if metadata.get("tokenizer.ggml.pre") in SINGLE_DIGITS:
            backend = loaded.backend_tokenizer
            backend.pre_tokenizer = Sequence([Digits(individual_digits=True), backend.pre_tokenizer])
        return loaded
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    # else transformers takes it for quantized, and does not save it
    model.hf_quantizer, model.is_quantized = None, False
    del model.config.quantization_config
    return loaded


@lru_cache(maxsize=4)
def _config(file: Path, changed_ns: int) -> PreTrainedConfig:
    """Read it once: transformers takes seconds, as it reads the vocabulary too."""
    return _read(AutoConfig, file)


def _read(auto_class: Any, file: Path, **settings: Any) -> Any:
    # a tokenizer.json beside the file would be taken for its own, and its progress bar does not heed disable_progress_bar
    with TemporaryDirectory() as empty, redirect_stderr(StringIO()):
        return auto_class.from_pretrained(empty, gguf_file=str(file.absolute()), **settings)


def _check(file: Path) -> dict[str, Any]:
    """Refuse a file that was cut off; return its metadata, of lists of texts their lengths."""
    from transformers.integrations.gguf import reader

    check_fetched(file)
    size = file.stat().st_size
    try:
        header = reader.GgufHeader.from_file(str(file))
    except struct.error as error:
        raise damaged(file, f"it was cut off within its header, after {size:,} bytes") from error
    end = header.data_start + max((tensor.offset + tensor.nbytes for tensor in header.tensors), default=0)
    if size < end:
        raise damaged(file, f"it was cut off: {size:,} of {end:,} bytes")
    if find_spec("gguf") is None:
        raise UserError(f"{file} needs the package gguf, which this environment lacks.\nInstall it: pip install gguf")
    metadata: dict[str, Any] = reader.read_gguf_metadata(str(file))[0]
    return metadata
