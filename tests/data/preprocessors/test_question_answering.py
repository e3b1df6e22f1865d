from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from tokenizers.models import WordPiece
from transformers import AutoTokenizer

from lightune.common.errors import UserError
from lightune.data import QuestionAnsweringPreprocessor
from lightune.data.preprocessors.lengths import truncate_texts

SHORT = "the film is good"
LONG = " ".join(["the very story is a plot"] * 6 + ["superb"] + ["with a film and the plot"] * 6)


def make_preprocessor(folder: Path, **settings: object) -> QuestionAnsweringPreprocessor:
    return QuestionAnsweringPreprocessor(
        **{
            "tokenizer": AutoTokenizer.from_pretrained(folder),
            "question_column": "question",
            "context_column": "context",
            "answers_column": "answers",
            "version_2_with_negative": False,
            "max_length": 32,
            "doc_stride": 8,
            **settings,
        }
    )


def rows(*triples: tuple[str, str, str | None]) -> Dataset:
    return Dataset.from_list(
        [
            {
                "question": question,
                "context": context,
                "answers": {"text": [answer], "answer_start": [context.find(answer)]}
                if answer is not None
                else {"text": [], "answer_start": []},
            }
            for question, context, answer in triples
        ]
    )


def features(preprocessor: QuestionAnsweringPreprocessor, raw_rows: Dataset, *, training: bool) -> list[dict]:
    prepared = preprocessor.prepare(raw_rows, split="train")
    columns = preprocessor(prepared.to_dict(), training=training)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_labels_are_the_answers_tokens(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    for answer in ("film", "is good", SHORT):
        (row,) = features(preprocessor, rows(("bad plot", SHORT, answer)), training=True)
        first, last = row["labels"]
        assert preprocessor.tokenizer.decode(row["input_ids"][first : last + 1]) == answer


def test_windows_overlap_and_only_those_with_the_whole_answer_point_to_it(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    windows = features(preprocessor, rows(("bad", LONG, "superb with")), training=True)
    assert len(windows) > 3
    decode = preprocessor.tokenizer.decode
    whole_answers = 0
    for window in windows:
        first, last = window["labels"]
        text = decode(window["input_ids"])
        if "superb with" in text:
            whole_answers += 1
            assert decode(window["input_ids"][first : last + 1]) == "superb with"
        else:
            assert (first, last) == (0, 0)
    assert whole_answers >= 1


def test_held_out_rows_stay_whole_and_every_character_is_in_a_window(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    raw_rows = rows(("bad", LONG, "superb"), ("bad", SHORT, "good"))
    held_out = features(preprocessor, raw_rows, training=False)
    assert len(held_out) == 2
    batch = preprocessor.collate(held_out)
    assert len(batch["input_ids"]) == len(batch["labels"]) == len(held_out[0]["input_ids"]) + 1
    for row, context in zip(batch["rows"], (LONG, SHORT), strict=True):
        assert row["context"] == context
        covered = {place for begin, end in row["offsets"].reshape(-1, 2) for place in range(begin, end) if begin >= 0}
        assert all(place in covered for place, character in enumerate(context) if character != " ")
        assert row["offsets"].shape[1] == batch["input_ids"].shape[1]
        # neither the question nor padding may be an answer
        ids = batch["input_ids"].numpy()[: len(row["offsets"])]
        assert ((row["offsets"][..., 0] >= 0) & (ids == preprocessor.tokenizer.pad_token_id)).sum() == 0
    assert isinstance(batch["rows"][0]["offsets"], np.ndarray)


def test_questions_that_are_too_long_are_cut_and_leave_room_for_the_context(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert)
    windows = features(preprocessor, rows(("bad " * 100, SHORT, "good")), training=True)
    assert all(len(window["input_ids"]) <= 32 for window in windows)
    assert any(window["labels"] != [0, 0] for window in windows)


def test_no_answer_points_to_cls_if_that_is_allowed(tiny_bert: Path):
    raw_rows = rows(("bad", SHORT, None), ("bad", SHORT, "good"))
    windows = features(make_preprocessor(tiny_bert, version_2_with_negative=True), raw_rows, training=True)
    assert windows[0]["labels"] == [0, 0]
    with pytest.raises(
        UserError, match="row 1.*has no answer.\nIf that is intended, set data.version_2_with_negative=true"
    ):
        features(make_preprocessor(tiny_bert), raw_rows, training=True)


def test_a_wrong_start_is_corrected_and_a_foreign_answer_refused(tiny_bert: Path):
    raw_rows = rows(("bad", SHORT, "good"))
    moved = raw_rows.map(lambda row: {"answers": {"text": ["good"], "answer_start": [1]}})
    assert features(make_preprocessor(tiny_bert), moved, training=True) == features(
        make_preprocessor(tiny_bert), raw_rows, training=True
    )
    foreign = raw_rows.map(lambda row: {"answers": {"text": ["goood"], "answer_start": [12]}})
    with pytest.raises(UserError, match="The train split, row 1, column 'answers': the answer 'goood' is not in"):
        features(make_preprocessor(tiny_bert), foreign, training=True)


def test_spaces_around_an_answer_are_not_part_of_it_and_nothing_is_no_answer(tiny_bert: Path):
    preprocessor = make_preprocessor(tiny_bert, version_2_with_negative=True)
    spaced = Dataset.from_list(
        [
            {"question": "bad", "context": SHORT, "answers": {"text": [text], "answer_start": [start]}}
            for text, start in ((" film ", 3), ("", 0))
        ]
    )
    film, nothing = features(preprocessor, spaced, training=True)
    first, last = film["labels"]
    assert preprocessor.tokenizer.decode(film["input_ids"][first : last + 1]) == "film"
    assert nothing["labels"] == [0, 0]


@pytest.mark.parametrize(
    "answers",
    [{"text": "good", "answer_start": 12}, {"text": ["good"], "answer_start": []}, {"text": ["good"]}],
)
def test_malformed_answers_are_refused_with_the_expected_form(tiny_bert: Path, answers: dict):
    raw_rows = Dataset.from_list([{"question": "bad", "context": SHORT, "answers": answers}])
    with pytest.raises(UserError, match=r"row 1.*not as expected.*\nExpected \{'text': \['Paris'\]"):
        features(make_preprocessor(tiny_bert), raw_rows, training=True)


def test_a_wrong_column_is_refused_with_the_nearest_name(tiny_bert: Path):
    with pytest.raises(UserError, match="data.context_column=contxt: .*Did you mean 'context'"):
        make_preprocessor(tiny_bert, context_column="contxt").prepare(rows(("bad", SHORT, "good")), split="train")


def test_a_stride_that_leaves_no_room_is_refused(tiny_bert: Path):
    with pytest.raises(UserError, match=r"data.doc_stride=20: with data.max_length=32 windows can share 0 to 12"):
        make_preprocessor(tiny_bert, doc_stride=20)


def test_a_start_before_the_context_is_corrected(tiny_bert: Path):
    """Python would count it from the end, and the answer would seem to be there."""
    raw_rows = rows(("bad", "a film", "film"))
    moved = raw_rows.map(lambda row: {"answers": {"text": ["fil"], "answer_start": [-4]}})
    prepared = make_preprocessor(tiny_bert).prepare(moved, split="train")
    assert prepared["answer_starts"][:] == [[2]]


def test_a_long_question_is_cut_between_characters(tiny_bert: Path):
    """A syllable of Hangul is several letters, so several tokens: half of one would come back as all of them."""
    preprocessor = make_preprocessor(tiny_bert)
    tokenizer = preprocessor.tokenizer
    vocab = {
        **tokenizer.get_vocab(),
        **{f"{mark}{chr(c)}": 0 for c in range(0x1100, 0x11C3) for mark in ("", "##")},
    }
    tokenizer.backend_tokenizer.model = WordPiece(vocab, unk_token="[UNK]")
    question = truncate_texts(tokenizer, ["한국한국"], tokens=4)
    assert question == ["한"]
    assert len(tokenizer(question[0], add_special_tokens=False)["input_ids"]) == 3


@pytest.mark.parametrize(
    ("given", "wanted"), [(46, 45), (0, 12), (28, 12), (30, 45), (-3, 12), (12, 12), (45, 45), (400, 45)]
)
def test_a_wrong_start_is_moved_to_the_nearest_place_and_counted(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture, given: int, wanted: int
):
    context = "the film is lovely and the good story is not lovely"
    context = context.replace("not lovely", "so lovely")[:45] + "lovely"
    assert context.find("lovely") == 12 and context.rfind("lovely") == 45
    raw_rows = Dataset.from_list(
        [
            {"question": "a", "context": context, "answers": {"text": ["film"], "answer_start": [4]}},
            {"question": "b", "context": context, "answers": {"text": ["lovely"], "answer_start": [given]}},
        ]
    )
    prepared = make_preprocessor(tiny_bert).prepare(raw_rows, split="train")
    assert prepared["answer_starts"][:] == [[4], [wanted]]
    told = "train: 1 of 2 rows have an answer that is not at its answer_start; the nearest place of its text is taken: row 2"
    assert [record.message for record in caplog.records] == ([told] if given != wanted else [])
