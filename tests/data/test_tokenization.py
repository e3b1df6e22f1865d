import sys
import threading
from pathlib import Path
from typing import Any

import datasets.config
import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from lightune.data import TextClassificationPreprocessor
from lightune.data.tokenization import tokenize

ROWS = {"text": ["good film", "a bad story"] * 20, "labels": [0, 1] * 20}


class Counting(TextClassificationPreprocessor):
    """Counts how often rows are tokenized."""

    calls = 0

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        Counting.calls += 1
        return super().__call__(examples, training=training)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    Counting.calls = 0


@pytest.fixture
def tokenized(tiny_bert: Path):
    def run(rows: dict[str, list[Any]] = ROWS, *, training: bool = True, **settings: Any) -> Dataset:
        tokenizer = settings.pop("tokenizer", None) or AutoTokenizer.from_pretrained(tiny_bert)
        columns = {"text_columns": ["text"], "label_column": "label", "label_names": None}
        preprocessor = Counting(tokenizer=tokenizer, **{**columns, "max_length": 16, "truncation": "head", **settings})
        return tokenize(Dataset.from_dict(rows), preprocessor, split="train" if training else "test")

    return run


def test_the_same_rows_are_tokenized_once(tokenized, tiny_bert: Path):
    first = tokenized()
    used = AutoTokenizer.from_pretrained(tiny_bert)
    used(["some text"], truncation=True, max_length=5, padding="max_length")  # leaves its settings behind
    second = tokenized(tokenizer=used)
    assert Counting.calls == 1
    assert first[:] == second[:]
    assert second.cache_files  # mapped from a file


def test_another_text_setting_or_tokenizer_is_tokenized_again(tokenized, tiny_bert: Path):
    tokenized()
    tokenized({**ROWS, "text": ["good film", "a bad plot"] * 20})
    tokenized(max_length=8)
    tokenized(training=False)
    tokenized(truncation="tail")
    other = AutoTokenizer.from_pretrained(tiny_bert)
    other.add_tokens(["film story"])
    tokenized(tokenizer=other)
    assert Counting.calls == 6


@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail"])
def test_what_is_kept_of_a_text_does_not_depend_on_the_tokenizers_own_side(tokenized, tiny_bert: Path, truncation: str):
    rows = {"text": ["good film a bad story with the plot"], "labels": [0]}
    tokenizers = [AutoTokenizer.from_pretrained(tiny_bert, truncation_side=side) for side in ("left", "right")]
    texts = [
        one.decode(tokenized(rows, tokenizer=one, max_length=6, truncation=truncation)[0]["input_ids"])
        for one in tokenizers
    ]
    kept = {"head": "good film a bad", "tail": "story with the plot", "head_tail": "good with the plot"}[truncation]
    assert texts == [f"[CLS] {kept} [SEP]"] * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("split_special_tokens", True),
        ("model_input_names", ["input_ids"]),
        ("pad_token", "[MASK]"),
        ("_tgt_lang", "de"),
    ],
)
def test_each_setting_of_a_tokenizer_is_part_of_the_key(tokenized, tiny_bert: Path, name: str, value: object):
    tokenized()
    other = AutoTokenizer.from_pretrained(tiny_bert)
    setattr(other, name, value)
    tokenized(tokenizer=other)
    assert Counting.calls == 2


def test_a_copy_of_a_tokenizer_in_another_folder_reads_the_same_rows(tokenized, tiny_bert: Path, tmp_path: Path):
    tokenized()
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "copy")
    tokenized(tokenizer=AutoTokenizer.from_pretrained(tmp_path / "copy"))
    assert Counting.calls == 1


def test_changed_code_of_a_preprocessor_of_ones_own_tokenizes_again(
    tokenized, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    module = tmp_path / "mine.py"
    monkeypatch.setattr(sys.modules[Counting.__module__], "__file__", str(module))
    for code in ("first", "second", "second"):
        module.write_text(code)
        tokenized()
    assert Counting.calls == 2


def test_runs_that_start_together_wait_for_the_first(tokenized):
    threads = [threading.Thread(target=tokenized) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counting.calls == 1


def test_an_interrupted_start_leaves_nothing_behind(tokenized, monkeypatch: pytest.MonkeyPatch):
    original = Counting.__call__

    def stopped(self: Any, examples: Any, *, training: bool) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Counting, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        tokenized()
    monkeypatch.setattr(Counting, "__call__", original)
    assert len(tokenized()) == 40
    left = [file for file in datasets.config.HF_DATASETS_CACHE.rglob("*") if "tmp" in file.name]
    assert not left


def test_what_a_tokenizer_holds_beside_its_settings_is_no_part_of_the_key(tokenized, tiny_bert: Path):
    def slow() -> Any:
        tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
        tokenizer.spm = object()  # as Marian holds its two vocabularies: no setting
        return tokenizer

    tokenized(tokenizer=slow())
    tokenized(tokenizer=slow())
    assert Counting.calls == 1
