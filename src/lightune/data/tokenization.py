"""Rows are tokenized once: the next run, another process and a sweep read what the first one wrote."""

import json
import sys
from pathlib import Path
from typing import Any

import datasets.config
import tokenizers
import transformers
from datasets import Dataset
from datasets.fingerprint import Hasher
from filelock import FileLock
from transformers import PreTrainedTokenizerBase

from lightune.common.files import remove_unused
from lightune.data.preprocessors.base import Preprocessor

# of a tokenizer, what changes no row: where it came from, what it has warned of
NOT_SETTINGS = {"init_inputs", "init_kwargs", "name_or_path", "files_loaded", "verbose", "deprecation_warnings"}


def tokenize(rows: Dataset, preprocessor: Preprocessor, *, split: str) -> Dataset:
    """Return the features of prepared rows, from a memory-mapped file beside datasets' own cache.

    In ``train`` a row may become several. The file's name is a hash of all that its content depends on: the rows, the
    preprocessor's settings, the tokenizer, and the code of this package's ``data`` and of the preprocessor. It is
    written under a lock and renamed once complete, so processes that start together wait for the first. The tokenizer
    itself works on every core.
    """
    training, settings = split == "train", {**vars(preprocessor)}
    tokenizer = settings.pop("tokenizer", None)
    state = None if tokenizer is None else _state(tokenizer)
    versions = [transformers.__version__, tokenizers.__version__]
    kind = type(preprocessor)
    name = Hasher.hash([rows._fingerprint, kind.__qualname__, settings, state, training, _code(kind), versions])
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "tokens"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.arrow"
    with FileLock(folder / f"{name}.lock"):
        remove_unused(folder, used=file)
        return rows.map(
            preprocessor,
            batched=True,
            fn_kwargs={"training": training},
            remove_columns=rows.column_names,
            cache_file_name=str(file),
            load_from_cache_file=True,
            new_fingerprint=name,
            desc=f"Tokenizing {split}",
        )


def _code(preprocessor: type) -> list[bytes]:
    """Return the code that tokenizes rows; a preprocessor of one's own lies outside of this package."""
    own = getattr(sys.modules[preprocessor.__module__], "__file__", None)
    files = {*Path(__file__).parent.rglob("*.py"), *([Path(own)] if own else [])}
    return [file.read_bytes() for file in sorted(files)]


def _state(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """Return all that a tokenizer's output depends on, without the padding and truncation of its last call."""
    values = {name: value for name, value in vars(tokenizer).items() if name not in NOT_SETTINGS}
    settings = [
        f"{name}={value}" for name, value in values.items() if isinstance(value, str | int | list | dict | None)
    ]
    if not tokenizer.is_fast:
        return [sorted(tokenizer.get_vocab().items()), str(tokenizer), settings]
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    return [backend | {"padding": None, "truncation": None}, settings]
