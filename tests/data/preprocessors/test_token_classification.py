import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lightune.common.errors import UserError
from lightune.data import TokenClassificationPreprocessor
from lightune.data.preprocessors.words import split_words
from lightune.data.sources.read import read_table

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
ROWS = {
    "tokens": [["Anna", "Lee", "lives", "in", "Oslo", "."], ["good", "film"]],
    "ner_tags": [["B-PER", "I-PER", "O", "O", "B-LOC", "O"], ["O", "O"]],
}


def byte_level() -> PreTrainedTokenizerFast:
    """A tokenizer such as RoBERTa's: bytes, the space before a word part of its first token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(["<s>", "</s>", "<pad>", *alphabet, "in", "Ġin"])}
    backend = Tokenizer(models.BPE(vocab, [("i", "n"), ("Ġ", "in")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=True)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special, model_max_length=64)


def sentence_piece() -> PreTrainedTokenizerFast:
    """A tokenizer such as DeBERTa's or XLM-R's: the offsets of a token may begin with a space."""
    pieces = ["<pad>", "<unk>", "<s>", "</s>", "▁", "▁in", "▁Os", "lo", *"AneLlivsO.gdfmx"]
    backend = Tokenizer(models.Unigram([(piece, -float(len(pieces) - len(piece))) for piece in pieces], unk_id=1))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", model_max_length=64)


@pytest.fixture(params=["word_piece", "byte_level", "sentence_piece", "left_padded"])
def tokenizer(request: pytest.FixtureRequest, tiny_bert: Path) -> Any:
    if request.param == "byte_level":
        return byte_level()
    if request.param == "sentence_piece":
        return sentence_piece()
    side = "left" if request.param == "left_padded" else "right"
    return AutoTokenizer.from_pretrained(tiny_bert, padding_side=side)


def make_preprocessor(tokenizer: Any, **settings: object) -> TokenClassificationPreprocessor:
    return TokenClassificationPreprocessor(
        **{
            "tokenizer": tokenizer,
            "tokens_column": "tokens",
            "label_column": "ner_tags",
            "max_length": 32,
            "doc_stride": 8,
            **settings,
        }
    )


def batch_of(preprocessor: TokenClassificationPreprocessor, rows: Dataset, *, training: bool) -> dict[str, Any]:
    preprocessor.fit(rows)
    prepared = preprocessor.prepare(rows, split="train")
    features = prepared.map(
        preprocessor, batched=True, fn_kwargs={"training": training}, remove_columns=prepared.column_names
    )
    return preprocessor.collate([features[i] for i in range(len(features))])


def spoken(batch: dict[str, Any]) -> Iterator[list[tuple[int, int, int]]]:
    """Yield for each row (word, token id, label) of every token that speaks for a word."""
    start = 0
    for row in batch["rows"]:
        windows = slice(start, start + len(row["words"]))
        start = windows.stop
        at = torch.from_numpy(row["words"])
        kept = at >= 0
        yield list(
            zip(
                at[kept].tolist(),
                batch["input_ids"][windows][kept].tolist(),
                batch["labels"][windows][kept].tolist(),
                strict=True,
            )
        )
        assert batch["labels"][windows][~kept].eq(-100).all()


def test_the_first_token_of_each_word_carries_its_label(tokenizer: Any):
    preprocessor = make_preprocessor(tokenizer)
    batch = batch_of(preprocessor, Dataset.from_dict(ROWS), training=False)
    names = preprocessor.label_names
    for words, tags, tokens in zip(ROWS["tokens"], ROWS["ner_tags"], spoken(batch), strict=True):
        assert [word for word, _, _ in tokens] == list(range(len(words)))
        assert [names[label] for _, _, label in tokens] == tags
        for word, token, _ in tokens:
            text = tokenizer.convert_ids_to_tokens(token).lstrip("▁Ġ")
            assert words[word].lower().startswith(text.lower()) or token == tokenizer.unk_token_id


@pytest.mark.parametrize("doc_stride", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [8, 9, 16, 40])
def test_each_word_of_a_long_text_counts_in_exactly_one_window(tokenizer: Any, doc_stride: int, size: int):
    words = ["Oslo", "in", "[SEP]", "x", "Anna's"] * 8
    rows = Dataset.from_dict({"tokens": [words, words[:2]], "ner_tags": [["B-LOC"] + ["O"] * 39, ["O", "I-PER"]]})
    preprocessor = make_preprocessor(tokenizer, max_length=size, doc_stride=doc_stride)
    batch = batch_of(preprocessor, rows, training=False)
    assert batch["input_ids"].shape[1] <= size
    assert [[word for word, _, _ in tokens] for tokens in spoken(batch)] == [list(range(40)), [0, 1]]
    training = batch_of(preprocessor, rows, training=True)
    assert "rows" not in training
    assert torch.equal(training["labels"], batch["labels"])
    assert torch.equal(training["input_ids"], batch["input_ids"])


def test_windows_are_split_in_the_middle_of_what_they_share(tiny_bert: Path):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert), max_length=10, doc_stride=4)
    rows = Dataset.from_dict({"tokens": [["good"] * 12], "ner_tags": [["B-X"] * 12]})
    batch = batch_of(preprocessor, rows, training=False)
    first, second = batch["rows"][0]["words"].tolist()
    assert first == [-1, 0, 1, 2, 3, 4, 5, -1, -1, -1]
    assert second == [-1, -1, -1, 6, 7, 8, 9, 10, 11, -1]


def test_words_that_leave_no_token_keep_their_place(tiny_bert: Path):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert))
    rows = Dataset.from_dict({"tokens": [["good", "\x07", "", "film"]], "ner_tags": [["O", "B-X", "O", "B-X"]]})
    batch = batch_of(preprocessor, rows, training=False)
    assert [word for word, _, _ in next(spoken(batch))] == [0, 3]
    assert batch["rows"][0]["tags"] == ["O", "B-X", "O", "B-X"]
    assert len(batch["rows"][0]["offsets"]) == 4


def test_length_counts_the_tokens_of_all_windows(tiny_bert: Path):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert), max_length=10, doc_stride=4)
    examples = {"words": [["good"] * 12, ["bad"]]}
    assert preprocessor(examples, training=False)["length"] == [20, 3]
    preprocessor.label_names = NAMES
    assert preprocessor({**examples, "tags": [["O"] * 12, ["O"]]}, training=True)["length"] == [10, 10, 3]


def test_a_raw_text_keeps_its_characters():
    text = "RT  @ada_l: don't go to the U.S. — so-called #AI costs $1,000!\thttp://t.co/a?b=1"
    words = split_words(text)
    assert [words.text[start:end] for start, end in words.offsets] == (
        [
            "RT",
            "@ada_l",
            ":",
            "don't",
            "go",
            "to",
            "the",
            "U.S",
            ".",
            "—",
            "so-called",
            "#AI",
            "costs",
            "$",
            "1,000",
            "!",
            "http://t.co/a?b=1",
        ]
    )
    assert words.text == text
    assert [split_words("हिन्दी में").text[start:end] for start, end in split_words("हिन्दी में").offsets] == [
        "हिन्दी",
        "में",
    ]


def test_each_character_of_chinese_and_japanese_is_a_word():
    words = split_words("我爱北京, GPT-4 と東京タワー。")
    found = [words.text[start:end] for start, end in words.offsets]
    assert found == [*"我爱北京", ",", "GPT-4", *"と東京タワー。"]


def test_raw_texts_and_words_need_no_fit_to_be_predicted(tiny_bert: Path):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert))
    for tokens, text in (("good  film!", "good  film!"), (["good", "film", "!"], "good film !")):
        prepared = preprocessor.prepare(Dataset.from_dict({"tokens": [tokens]}), split="predict", labelled=False)
        row = preprocessor.collate([_only(preprocessor(prepared[:], training=False))])
        assert row["rows"][0]["text"] == text
        assert [text[start:end] for start, end in row["rows"][0]["offsets"]] == ["good", "film", "!"]
        assert "labels" not in row


def _only(features: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: values[0] for name, values in features.items()}


def with_names(names: list[str], tags: list[list[int]]) -> Dataset:
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
    return Dataset.from_dict({"tokens": [["x"] * len(row) for row in tags], "ner_tags": tags}, features=features)


def test_names_of_a_class_label_keep_their_order(tiny_bert: Path):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert))
    names = ["B-b", "I-b", "O", "B-a", "I-a"]
    rows = with_names(names, [[0, 1, 2], [3, 4, 2]])
    preprocessor.fit(rows)
    assert preprocessor.head["id2label"] == dict(enumerate(names))
    assert list(preprocessor.prepare(rows, split="train")["tags"]) == [
        ["B-b", "I-b", "O"],
        ["B-a", "I-a", "O"],
    ]


@pytest.mark.parametrize("tags", [["S-A", "B-A", "E-A"], ["U-A", "B-A", "L-A"], ["I-A", "B-A", "I-A"]])
def test_every_scheme_becomes_bio(tiny_bert: Path, tags: list[str]):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert))
    rows = Dataset.from_dict({"tokens": [["x", "y", "z"]], "ner_tags": [tags]})
    preprocessor.fit(rows)
    assert preprocessor.label_names == ["O", "B-A", "I-A"]
    assert list(preprocessor.prepare(rows, split="train")["tags"]) == [["B-A", "B-A", "I-A"]]


GOOD = Dataset.from_dict(ROWS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"tokens": [["a", "b"]], "ner_tags": [["O"]]}, "validation split, row 1, .* 1 tags for 2 words"),
        (
            {"tokens": [["a"], ["b"]], "ner_tags": [["O"], ["B-PERS"]]},
            "row 2, .* no 'PERS'. Did you mean 'PER'",
        ),
        ({"tokens": [["a"], ["b"]], "ner_tags": [["O"], None]}, "row 2, .* there are no tags"),
        ({"tokens": [["a", "b"]], "ner_tags": [["O", None]]}, "row 1, .* None is not a tag"),
        ({"tokens": [["a"], None], "ner_tags": [["O"], ["O"]]}, "no text in column 'tokens' .* row 2"),
        ({"tokens": [["a", None]], "ner_tags": [["O", "O"]]}, "row 1, column 'tokens': None is not a word"),
        ({"tokens": ["a b"], "ner_tags": [["O", "O"]]}, "has 'a b' there, not a list of words"),
        ({"tokens": [["a"]], "ner_tags": ["O"]}, "has 'O' there, not a list of tags"),
        ({"tokens": [["a"]], "ner_tags": [[0]]}, "numbers without names"),
        ({"token": [["a"]], "ner_tags": [["O"]]}, "data.tokens_column=tokens: .* Did you mean 'token'"),
        ({"tokens": [["a"]], "tags": [["O"]]}, "data.label_column=ner_tags: .* Did you mean 'tags'"),
    ],
)
def test_mistakes_are_refused_with_their_row_and_the_fix(tiny_bert: Path, rows: dict, message: str):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert))
    preprocessor.fit(GOOD)
    with pytest.raises(UserError, match=message) as caught:
        preprocessor.prepare(Dataset.from_dict(rows), split="validation")
    assert len(str(caught.value).splitlines()) <= 4


def test_an_unlabelled_split_and_one_without_entities_are_refused(tiny_bert: Path):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert))
    preprocessor.fit(with_names(NAMES, [[0, 1]]))
    with pytest.raises(UserError, match="row 1, .*: -1 is not one of the 5 tags"):
        preprocessor.prepare(with_names(NAMES, [[0, -1]]), split="test")
    with pytest.raises(UserError, match="no tag other than O"):
        preprocessor.fit(Dataset.from_dict({"tokens": [["a"]], "ner_tags": [["O"]]}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_length": 65}, "reads from 3 to 64"),
        ({"doc_stride": 30}, "can share 0 to 29 tokens.\nSet for example data.doc_stride=7"),
    ],
)
def test_impossible_lengths_are_refused(tiny_bert: Path, settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert), **settings)


def test_the_number_of_texts_read_in_windows_is_logged_once(tiny_bert: Path, caplog: pytest.LogCaptureFixture):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert), max_length=10, doc_stride=2)
    rows = Dataset.from_dict(
        {"tokens": [["good"] * 9, ["good"] * 8, ["bad"]], "ner_tags": [["B-X"] * 9, ["O"] * 8, ["O"]]}
    )
    preprocessor.fit(rows)
    with caplog.at_level(logging.INFO):
        preprocessor.prepare(rows, split="train")
    assert [record.message.startswith("train: 1 of 3 texts") for record in caplog.records] == [True]


def test_words_and_tags_of_another_kind_are_refused(tiny_bert: Path):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert))
    with pytest.raises(UserError, match="not a list of words"):
        preprocessor.prepare(Dataset.from_list([{"tokens": {"a": "b"}}]), split="predict", labelled=False)
    with pytest.raises(UserError, match=r"row 1.*\['B-X'\] is not a tag"):
        preprocessor.fit(Dataset.from_list([{"tokens": ["a"], "ner_tags": [["B-X"]]}]))


def test_a_spelling_of_tags_is_told_and_what_fits_no_scheme_refused(tiny_bert: Path, caplog: pytest.LogCaptureFixture):
    preprocessor = make_preprocessor(AutoTokenizer.from_pretrained(tiny_bert))
    rows = Dataset.from_dict({"tokens": [["x", "y", "z"]], "ner_tags": [["o", "B_PER", "I_PER"]]})
    with caplog.at_level(logging.INFO):
        preprocessor.fit(rows)
        assert preprocessor.label_names == ["O", "B-PER", "I-PER"]
        assert list(preprocessor.prepare(rows, split="train")["tags"]) == [["O", "B-PER", "I-PER"]]
    assert caplog.text.count("how tags are read: o as O, B_PER as B-PER, I_PER as I-PER") == 1
    with caplog.at_level(logging.INFO):
        preprocessor.fit(Dataset.from_dict({"tokens": [["x", "y"]], "ner_tags": [["PER", "O"]]}))
    assert "how tags are read: PER as a type" in caplog.text
    mixed = Dataset.from_dict({"tokens": [["x"], ["y", "z"]], "ner_tags": [["B-PER"], ["O", "NONE"]]})
    with pytest.raises(
        UserError, match="train split, row 2, column 'ner_tags': 'NONE' is no tag beside B-PER, O.\nExpected"
    ):
        preprocessor.fit(mixed)
    with pytest.raises(UserError, match="train split, row 2, column 'ner_tags': 'NONE' is no tag"):
        preprocessor.fit(with_names(["O", "B-A", "I-A", "NONE"], [[0, 1], [3]]))
    preprocessor.fit(with_names(["o", "O", "B_A", "I_A", "NONE"], [[0, 1], [2]]))
    assert preprocessor.label_names == ["O", "B-A", "I-A"]
    bare = Dataset.from_dict({"tokens": [["x", "y", "z"]], "ner_tags": [["b_cell", "t_cell", "O"]]})
    preprocessor.fit(bare)
    held_out = Dataset.from_dict({"tokens": [["x", "y"]], "ner_tags": [["b_cell", "O"]]})
    assert list(preprocessor.prepare(held_out, split="test")["tags"]) == [["B-b_cell", "O"]]


TEXT = "Anna Lee isn't in New York."
SPANS = {
    "doccano": {"label": [[0, 8, "PER"], [18, 26, "LOC"]]},
    "doccano, exported by relations": {
        "label": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 8}, {"id": 2, "label": "LOC", "start_offset": 18, "end_offset": 26}]
    },
    "prodigy": {"label": [{"start": 0, "end": 8, "token_start": 0, "label": "PER"}, {"start": 18, "end": 26, "token_start": 4, "label": "LOC"}]},
    "unsorted, with spaces around": {"label": [[17, 26, "LOC"], [0, 9, " PER "]]},
}  # fmt: skip


@pytest.mark.parametrize("form", SPANS)
def test_spans_of_characters_become_tags_of_words(tiny_bert: Path, tmp_path: Path, form: str):
    file = tmp_path / "spans.jsonl"
    file.write_text(
        json.dumps({"text": "nobody", "label": []}) + "\n" + json.dumps({"text": TEXT} | SPANS[form]) + "\n"
    )
    preprocessor = make_preprocessor(
        AutoTokenizer.from_pretrained(tiny_bert), tokens_column="text", label_column="label"
    )
    rows = read_table(file)
    preprocessor.fit(rows)
    assert preprocessor.label_names == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    prepared = preprocessor.prepare(rows, split="train")
    assert prepared["words"][:] == [["nobody"], ["Anna", "Lee", "isn't", "in", "New", "York", "."]]
    assert prepared["tags"][:] == [["O"], ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O"]]
    nobody = preprocessor.prepare(rows.select([0]), split="test")
    assert nobody["tags"][:] == [["O"]]
    raw = preprocessor.prepare(rows.select_columns(["text"]), split="predict", labelled=False)
    assert raw["words"][:] == ["nobody", TEXT]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[0, 8, "PER"], [5, 8, "PER"]], r"\[5, 8, 'PER'\] overlaps another span"),
        ([[0, 8, "PER"], [0, 8, "LOC"]], "overlaps another span"),
        ([[0, 7, "PER"]], r"\[0, 7, 'PER'\] is 'Anna Le', which is not whole words"),
        ([[9, 12, "X"]], "is 'isn', which is not whole words"),
        ([[4, 5, "X"]], "not whole words"),
        ([[20, 99, "X"]], "is no span of a text of 27 characters"),
        ([[-3, 2, "X"]], "is no span of a text"),
        ([[3, 3, "X"]], "is no span of a text"),
        ([[0, 4, ""]], "is no span of a text"),
        ([["Anna", "PER", "x"]], "is no span of a text"),
        ([{"start": 0, "end": 4}], "is no span of a text"),
    ],
)
def test_a_span_that_is_not_whole_words_of_its_own_is_refused_with_its_row(tiny_bert: Path, spans: list, message: str):
    preprocessor = make_preprocessor(
        AutoTokenizer.from_pretrained(tiny_bert), tokens_column="text", label_column="label"
    )
    rows = Dataset.from_list([{"text": TEXT, "label": []}, {"text": TEXT, "label": spans}], on_mixed_types="use_json")
    with pytest.raises(UserError, match=f"train split, row 2, column 'label': .*{message}") as caught:
        preprocessor.fit(rows)
    assert len(str(caught.value).splitlines()) <= 4


def test_rows_that_were_rejected_in_prodigy_are_left_out(tiny_bert: Path, caplog: pytest.LogCaptureFixture):
    preprocessor = make_preprocessor(
        AutoTokenizer.from_pretrained(tiny_bert), tokens_column="text", label_column="spans"
    )
    span = {"start": 0, "end": 4, "label": "PER"}
    answers = ["accept", "reject", "ignore", "accept"]
    rows = Dataset.from_list(
        [{"text": f"Anna {i}", "spans": [span], "answer": answer} for i, answer in enumerate(answers)]
    )
    preprocessor.fit(rows)
    with caplog.at_level(logging.INFO):
        prepared = preprocessor.prepare(rows, split="test")
    assert prepared["words"][:] == [["Anna", "0"], ["Anna", "3"]]
    assert "test: 2 of 4 rows left out: rejected or ignored" in caplog.text
