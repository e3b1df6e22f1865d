from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoTokenizer, MBart50Tokenizer, NllbTokenizer

from lightune.common.errors import UserError
from lightune.data import Seq2SeqPreprocessor


def make_preprocessor(folder: Path, **settings: object) -> Seq2SeqPreprocessor:
    return Seq2SeqPreprocessor(
        **{
            "tokenizer": AutoTokenizer.from_pretrained(folder),
            "source_column": "en",
            "target_column": "de",
            "max_length": 16,
            "max_target_length": 8,
            "source_prefix": None,
            "source_lang": "en",
            "target_lang": "de",
            **settings,
        }
    )


ROWS = Dataset.from_dict({"en": ["good film", "bad plot", "good film"], "de": ["a b", "c", "d e f"]})


def features(preprocessor: Seq2SeqPreprocessor, rows: Dataset, split: str) -> list[dict]:
    prepared = preprocessor.prepare(rows, split=split)
    columns = preprocessor(prepared.to_dict(), training=split == "train")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_training_rows_are_pairs(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    rows = features(preprocessor, ROWS, "train")
    decode = preprocessor.tokenizer.decode
    assert decode(rows[0]["input_ids"]) == "[CLS] good film [SEP]"
    # BERT's decoder starts from [CLS]: it is no target
    assert [decode(row["labels"]) for row in rows] == ["a b [SEP]", "c [SEP]", "d e f [SEP]"]
    assert rows[0]["length"] == 4 + 3


def test_held_out_rows_of_one_source_are_one_example_with_its_references(tiny_bert: Path):
    rows = features(make_preprocessor(tiny_bert), ROWS, "test")
    assert [(row["source"], row["references"]) for row in rows] == [
        ("good film", ["a b", "d e f"]),
        ("bad plot", ["c"]),
    ]


def test_a_source_that_is_a_list_of_sentences_is_joined_and_told(tiny_bert: Path, caplog: pytest.LogCaptureFixture):
    rows = Dataset.from_dict({"en": [["good film", "bad plot"], [], ["good"]], "de": ["a", "b", "c"]})
    preprocessor = make_preprocessor(tiny_bert)
    with caplog.at_level("INFO"):
        prepared = preprocessor.prepare(rows.select([2, 0]), split="train")
        assert list(prepared["source"]) == ["good", "good film bad plot"]
        assert "train: the texts of each list in column 'en' are joined by spaces" in caplog.text
        assert list(preprocessor.prepare(rows, split="test")["source"]) == ["good film bad plot", "", "good"]
    assert "test: 1 of 3 rows have an empty text in column 'en': row 2" in caplog.text
    asked = preprocessor.prepare(rows.select_columns(["en"]), split="predict", labelled=False)
    assert asked["source"][0] == "good film bad plot"
    with pytest.raises(UserError, match="lists in column 'en'"):
        preprocessor.prepare(Dataset.from_dict({"en": [[1]], "de": ["a"]}), split="train")


def test_sources_and_targets_are_padded_separately(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    batch = preprocessor.collate(features(preprocessor, ROWS, "test"))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 4)
    assert batch["labels"][1, 2:].tolist() == [-100]
    assert batch["rows"][0]["references"] == ["a b", "d e f"]
    assert "rows" not in preprocessor.collate(features(preprocessor, ROWS, "train"))


def test_sources_take_a_prefix_and_are_cut(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert, source_prefix="the story: ", max_length=6)
    row = features(preprocessor, ROWS, "train")[0]
    assert len(row["input_ids"]) == 6
    assert preprocessor.tokenizer.decode(row["input_ids"]).startswith("[CLS] the story")


def test_columns_inside_a_column_are_found(tiny_bert: Path):
    rows = Dataset.from_dict({"translation": [{"en": "good", "de": "a"}, {"en": "bad", "de": "b"}]})
    preprocessor = make_preprocessor(tiny_bert, source_column="translation.de", target_column="translation.en")
    assert [row["source"] for row in features(preprocessor, rows, "test")] == ["a", "b"]


def test_a_wrong_column_is_refused_with_the_nearest_name(tiny_bert: Path):
    with pytest.raises(UserError, match="data.source_column=eng: .* Did you mean 'en'"):
        make_preprocessor(tiny_bert, source_column="eng").prepare(ROWS, split="train")


def test_numbers_are_not_texts(tiny_bert: Path):
    rows = Dataset.from_dict({"en": ["good"], "de": [3]})
    with pytest.raises(UserError, match="The train split has int64 in column 'de'"):
        make_preprocessor(tiny_bert).prepare(rows, split="train")


def test_a_missing_target_is_refused_with_its_row(tiny_bert: Path):
    rows = Dataset.from_dict({"en": ["good", "bad"], "de": ["a", None]})
    with pytest.raises(UserError, match="column 'de' of 1 row.*row 2"):
        make_preprocessor(tiny_bert).prepare(rows, split="train")


@pytest.mark.parametrize(
    ("kind", "languages", "codes"),
    [
        (MBart50Tokenizer, ("en", "de"), ("en_XX", "de_DE")),
        (MBart50Tokenizer, ("de_DE", "ro_RO"), ("de_DE", "ro_RO")),
        (NllbTokenizer, ("eng_Latn", "deu"), ("eng_Latn", "deu_Latn")),
    ],
)
def test_models_of_many_languages_get_the_codes_of_two(tiny_bert: Path, kind: type, languages: tuple, codes: tuple):
    tokenizer = kind(model_max_length=64)  # no words, all languages
    preprocessor = make_preprocessor(tiny_bert, tokenizer=tokenizer, source_lang=languages[0], target_lang=languages[1])
    assert preprocessor.head == {"forced_bos_token_id": tokenizer.convert_tokens_to_ids(codes[1])}
    row = features(preprocessor, ROWS, "train")[0]
    first = [tokenizer.convert_ids_to_tokens(row[name][0]) for name in ("input_ids", "labels")]
    assert first == list(codes)


def test_a_language_that_the_model_does_not_know_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match="data.target_lang=xx: this model needs to know the language.*ar_AR"):
        make_preprocessor(tiny_bert, tokenizer=MBart50Tokenizer(model_max_length=64), target_lang="xx")


def test_a_direction_half_reversed_is_refused(tiny_bert: Path):
    with pytest.raises(
        UserError, match="both 'de'.\nTo reverse the direction: data.source_lang=de data.target_lang=en"
    ):
        make_preprocessor(tiny_bert, source_column="de")
