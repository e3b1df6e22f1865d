from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer

from lightune.common.errors import UserError
from lightune.data import MaskedLMPreprocessor

TEXTS = ["the film is a very good story and a very bad plot with a fine story " * 4, "good film", "bad"]


def make_preprocessor(folder: Path, **settings: object) -> MaskedLMPreprocessor:
    return MaskedLMPreprocessor(
        **{
            "tokenizer": AutoTokenizer.from_pretrained(folder),
            "text_columns": ["text"],
            "max_length": 16,
            "mlm_probability": 0.3,
            **settings,
        }
    )


def features(preprocessor: MaskedLMPreprocessor, texts: list[str], *, training: bool) -> list[dict]:
    columns = preprocessor({"text": texts}, training=training)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_long_texts_become_several_pieces_and_no_word_is_lost(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    rows = features(preprocessor, TEXTS, training=True)
    words = [preprocessor.tokenizer.decode(row["input_ids"], skip_special_tokens=True) for row in rows]
    assert " ".join(words).split() == " ".join(TEXTS).split()
    assert all(row["length"] <= 16 for row in rows)


def test_in_training_tokens_are_masked_anew_each_time(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    rows = features(preprocessor, TEXTS, training=True)
    one, other = preprocessor.collate(rows), preprocessor.collate(rows)
    assert one["labels"].shape == one["input_ids"].shape == one["attention_mask"].shape
    assert not torch.equal(one["labels"], other["labels"])
    hidden = one["labels"] != -100
    assert 0.05 < hidden[one["attention_mask"].bool()].float().mean() < 0.6
    assert not hidden[~one["attention_mask"].bool()].any()


def test_held_out_tokens_are_masked_once_whatever_the_order_of_rows(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert, mlm_probability=0.5)
    rows = features(preprocessor, TEXTS, training=False)
    again = features(preprocessor, TEXTS[::-1], training=False)
    assert sorted(map(str, rows)) == sorted(map(str, again))
    batch = preprocessor.collate(rows)
    hidden = batch["labels"] != -100
    assert hidden.any()
    assert (batch["input_ids"][~hidden] == preprocessor.tokenizer.mask_token_id).sum() == 0


def test_masking_leaves_the_runs_random_numbers_alone(tiny_bert: Path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    features(make_preprocessor(tiny_bert), TEXTS, training=False)
    assert torch.equal(torch.rand(1), expected)


def test_a_text_to_predict_for_must_hold_a_mask_and_keeps_it(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    rows = Dataset.from_dict({"text": ["a [MASK] film", "bad"]})
    with pytest.raises(UserError, match=r"Text 2 has nothing to fill in: 'bad'.\nPut \[MASK\]"):
        preprocessor.prepare(rows, split="predict", labelled=False)
    with pytest.raises(UserError, match=r"Text 1 has 22 tokens; this run reads 16.*\nShorten it around"):
        preprocessor.prepare(
            Dataset.from_dict({"text": ["a [MASK] film" + " bad" * 17]}), split="predict", labelled=False
        )
    prepared = preprocessor.prepare(rows.select([0]), split="predict", labelled=False)
    columns = preprocessor(prepared.to_dict(), training=False)
    row = {name: values[0] for name, values in columns.items()}
    assert set(preprocessor.collate([row])) >= {"input_ids", "attention_mask"}
    assert preprocessor.tokenizer.decode(row["input_ids"]) == "[CLS] a [MASK] film [SEP]"


def test_the_texts_of_all_columns_are_checked_before_prediction(tiny_bert: Path):
    """A row that became two pieces would shift the predictions of those after it."""
    preprocessor = make_preprocessor(tiny_bert, text_columns=["text", "more"])
    short, long = {"text": "a", "more": "[MASK] film"}, {"text": "a [MASK] film", "more": "good " * 20}
    preprocessor.prepare(Dataset.from_list([short]), split="predict", labelled=False)
    with pytest.raises(UserError, match=r"Text 2 has \d+ tokens"):
        preprocessor.prepare(Dataset.from_list([short, long]), split="predict", labelled=False)
