from pathlib import Path

import pytest
import torch
from datasets import Dataset, Features, List, Value
from transformers import AutoTokenizer

from lightune.common.errors import UserError
from lightune.data import TextClassificationPreprocessor

LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]


def make_preprocessor(tiny_bert: Path, **settings: object) -> TextClassificationPreprocessor:
    return TextClassificationPreprocessor(
        **{
            "tokenizer": AutoTokenizer.from_pretrained(tiny_bert),
            "text_columns": ["text"],
            "label_column": "label",
            "label_names": None,
            "max_length": 16,
            "truncation": "head",
            **settings,
        }
    )


def collated(preprocessor: TextClassificationPreprocessor, rows: Dataset) -> dict[str, torch.Tensor]:
    preprocessor.fit(rows)
    prepared = preprocessor.prepare(rows, split="train")
    features = prepared.map(
        preprocessor, batched=True, fn_kwargs={"training": True}, remove_columns=prepared.column_names
    )
    return preprocessor.collate([features[i] for i in range(len(features))])


def test_texts_are_padded_to_the_longest_of_the_batch_and_cut_at_max_length(tiny_bert: Path):
    rows = Dataset.from_dict({"text": ["good film", "bad " * 50, "fine"], "label": ["p", "n", "p"]})
    batch = collated(make_preprocessor(tiny_bert), rows)
    assert batch["attention_mask"].sum(dim=1).tolist() == [4, 16, 3]
    assert batch["input_ids"].shape == (3, 16)
    assert batch["labels"].tolist() == [1, 0, 1]
    assert batch["labels"].dtype == torch.int64


@pytest.mark.parametrize(("truncation", "head"), [("head", 8), ("tail", 0), ("head_tail", 2)])
def test_the_kept_part_of_a_long_text(tiny_bert: Path, truncation: str, head: int):
    words = LETTERS
    preprocessor = make_preprocessor(tiny_bert, max_length=10, truncation=truncation)
    features = preprocessor({"text": [" ".join(words), "a b"]}, training=True)
    wanted = ["[CLS]", *words[:head], *words[len(words) - (8 - head) :], "[SEP]"]
    assert preprocessor.tokenizer.convert_ids_to_tokens(features["input_ids"][0]) == wanted
    assert preprocessor.tokenizer.convert_ids_to_tokens(features["input_ids"][1]) == [
        "[CLS]",
        "a",
        "b",
        "[SEP]",
    ]
    assert features["length"] == [10, 4]
    assert [len(row) for row in features["attention_mask"]] == [10, 4]


def test_truncated_texts_are_reported_whatever_the_truncation(tiny_bert: Path):
    fits, long = "a b c d e f g h", "a b c d e f g h i"
    for truncation in ("head", "tail", "head_tail"):
        preprocessor = make_preprocessor(tiny_bert, max_length=10, truncation=truncation)
        assert preprocessor({"text": [fits, long, "a"]}, training=True)["truncated"] == [False, True, False]
    pairs = make_preprocessor(tiny_bert, max_length=12, text_columns=["a", "b"])
    assert pairs({"a": [fits, long], "b": [fits, ""]}, training=True)["truncated"] == [True, False]


def test_truncation_inside_pairs_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match="pairs"):
        make_preprocessor(tiny_bert, truncation="tail", text_columns=["a", "b"])


@pytest.mark.parametrize("training", [True, False])
def test_with_a_stride_nothing_is_cut_and_a_row_holds_its_windows(tiny_bert: Path, training: bool):
    preprocessor = make_preprocessor(tiny_bert, max_length=12, doc_stride=2)
    features = preprocessor({"text": [" ".join(LETTERS), "a b"], "labels": [1, 0]}, training=training)
    long, short = ([preprocessor.tokenizer.convert_ids_to_tokens(ids) for ids in row] for row in features["input_ids"])
    assert short == [["[CLS]", "a", "b", "[SEP]"]]
    assert long == [["[CLS]", *LETTERS[i : i + 10], "[SEP]"] for i in (0, 8, 16)]
    assert features["length"] == [36, 4]
    assert "truncated" not in features
    rows = [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]
    batch = preprocessor.collate(rows)
    assert batch["num_windows"] == [3, 1]
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["token_type_ids"].shape == (4, 12)
    assert batch["attention_mask"].sum(dim=1).tolist() == [12, 12, 12, 4]
    assert batch["labels"].tolist() == [1, 0]
    places = preprocessor.locate_tokens([" ".join(LETTERS)])
    assert [len(window) for window in places] == [12, 12, 12]
    assert {place.start for window in places for place in window if place} == {*range(0, 52, 2)}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"text_columns": ["a", "b"]}, r"data.doc_stride=4 reads all of one text.*\n.*text_columns=\['a', 'b'\]: set"),
        ({"truncation": "head_tail"}, r"needs data.truncation=head.*\ndata.truncation=head_tail"),
        ({"max_length": 6}, "windows can share 0 to 3 tokens"),
    ],
)
def test_windows_that_make_no_sense_are_refused(tiny_bert: Path, settings: dict[str, object], said: str):
    with pytest.raises(UserError, match=said):
        make_preprocessor(tiny_bert, doc_stride=4, **settings)


def test_what_would_read_more_of_a_text_is_what_applies(tiny_bert: Path):
    def ways(*, reads: int = 512, **settings: object) -> list[str]:
        preprocessor = make_preprocessor(tiny_bert, **{"max_length": 256, **settings, "tokenizer": longer(reads)})
        return preprocessor.ways_to_read_more

    def longer(reads: int) -> object:
        return AutoTokenizer.from_pretrained(tiny_bert, model_max_length=reads)

    cheap, most, windows, other = ways()
    assert (cheap, most) == ("data.truncation=head_tail", "data.max_length up to 512")
    assert (windows, other) == ("data.doc_stride=64", "model=modernbert (reads 8,192)")
    assert ways(max_length=512, truncation="head_tail") == [windows, other]
    assert ways(text_columns=["a", "b"]) == [most, other]
    assert ways(reads=8192) == [cheap, "data.max_length up to 8,192", windows]


def test_pairs_are_one_row_with_two_segments(tiny_bert: Path):
    rows = Dataset.from_dict({"a": ["good film", "bad"], "b": ["fine", "poor plot"], "label": [0, 1]})
    batch = collated(make_preprocessor(tiny_bert, text_columns=["a", "b"]), rows)
    assert batch["token_type_ids"][0].tolist() == [0, 0, 0, 0, 1, 1]


def test_several_labels_at_once_are_zeros_and_ones(tiny_bert: Path):
    rows = Dataset.from_dict(
        {"text": ["good", "bad"], "label": [["x", "z"], ["y"]]},
        features=Features({"text": Value("string"), "label": List(Value("string"))}),
    )
    batch = collated(make_preprocessor(tiny_bert), rows)
    assert batch["labels"].tolist() == [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def test_numbers_are_float_targets(tiny_bert: Path):
    rows = Dataset.from_dict({"text": ["good", "bad"], "label": [0.5, 2.0]})
    batch = collated(make_preprocessor(tiny_bert), rows)
    assert batch["labels"].tolist() == [0.5, 2.0]
    assert batch["labels"].dtype == torch.float32


ROWS = Dataset.from_dict({"text": ["good", "bad"], "label": ["p", "n"]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"text_columns": ["txt"]},
            r"data.text_columns=\[txt\]: the train split has no column 'txt'. Did you mean 'text'",
        ),
        ({"label_column": "labels"}, "data.label_column=labels: .* Did you mean 'label'"),
    ],
)
def test_a_wrong_column_is_refused_with_the_nearest_name(tiny_bert: Path, settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        make_preprocessor(tiny_bert, **settings).fit(ROWS)


@pytest.mark.parametrize("max_length", [2, 65])
def test_a_length_the_model_cannot_read_is_refused(tiny_bert: Path, max_length: int):
    with pytest.raises(UserError, match="reads from 3 to 64 tokens"):
        make_preprocessor(tiny_bert, max_length=max_length)


def test_an_unknown_label_is_refused_with_its_split_and_row(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    preprocessor.fit(ROWS)
    other = Dataset.from_dict({"text": ["good", "bad"], "label": ["p", "m"]})
    with pytest.raises(UserError, match=r"The validation split, row 2, column 'label': 'm' is not one of"):
        preprocessor.prepare(other, split="validation")


def test_an_unlabelled_split_is_refused(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    preprocessor.fit(Dataset.from_dict({"text": ["good", "bad"], "label": [0, 1]}))
    hidden = Dataset.from_dict({"text": ["good"], "label": [-1]})
    with pytest.raises(UserError, match="-1 marks rows without a label"):
        preprocessor.prepare(hidden, split="test")


def test_a_missing_text_is_refused_with_its_row(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    preprocessor.fit(ROWS)
    with pytest.raises(UserError, match="no text in column 'text' of 1 row.*row 2"):
        preprocessor.prepare(Dataset.from_dict({"text": ["good", None], "label": ["p", "n"]}), split="test")


def test_pairs_of_long_texts_are_cut_before_each_rest_is_combined_with_each(tiny_bert: Path):
    """In full 100,000 characters a side take hours; what stays is the same."""
    preprocessor = make_preprocessor(tiny_bert, text_columns=["text", "pair"])
    long = "film a good bad " * 6250
    uncut, short = (preprocessor({"text": [text], "pair": [text]}, training=True) for text in (long, long[: 16 * 20]))
    assert uncut == short


@pytest.mark.parametrize("labels", [[{"a": 1}, {"a": 2}], [["a"], ["b"]]])
def test_labels_of_another_kind_are_refused_with_their_row(tiny_bert: Path, labels: list):
    preprocessor = make_preprocessor(tiny_bert, label_names=["n", "p"])
    rows = Dataset.from_dict({"text": ["good", "bad"], "label": [[label] for label in labels]})
    preprocessor.fit(rows)
    with pytest.raises(UserError, match="The train split, row 1, column 'label'"):
        preprocessor.prepare(rows, split="train")
