import gzip
import json
from pathlib import Path

import pytest

from lightune.common.errors import UserError
from lightune.data.sources.read import read

QAS = [
    {"id": "1", "question": "who?", "answers": [{"text": "cat", "answer_start": 4}]},
    {"id": "2", "question": "why?", "answers": [], "is_impossible": True, "plausible_answers": []},
]
SQUAD = {"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": "the cat sat", "qas": QAS}]}]}


def test_each_question_is_a_row(tmp_path: Path):
    (tmp_path / "some.json").write_text(json.dumps(SQUAD, indent=2))
    rows = read(str(tmp_path / "some.json"))["train"]
    assert rows.to_list() == [
        {"id": "1", "title": "T", "context": "the cat sat", "question": "who?", "answers": {"text": ["cat"], "answer_start": [4]}},
        {"id": "2", "title": "T", "context": "the cat sat", "question": "why?", "answers": {"text": [], "answer_start": []}},
    ]  # fmt: skip


def test_a_folder_of_squads_own_file_names_and_gzip(tmp_path: Path):
    (tmp_path / "train-v2.0.json").write_text(json.dumps(SQUAD))
    with gzip.open(tmp_path / "dev-v2.0.json.gz", "wt") as file:
        json.dump(SQUAD, file)
    assert {split: len(rows) for split, rows in read(str(tmp_path)).items()} == {"train": 2, "validation": 2}


def test_a_missing_field_is_refused_with_its_place(tmp_path: Path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(SQUAD).replace('"question": "why?", ', ""))
    with pytest.raises(UserError, match=r"bad.json: article 1, paragraph 1: 'question' is missing"):
        read(str(path))


def test_an_incomplete_file_is_refused(tmp_path: Path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(SQUAD)[:-10])
    with pytest.raises(UserError, match="bad.json: not well-formed JSON"):
        read(str(path))


def test_other_json_is_a_table(tmp_path: Path):
    (tmp_path / "rows.json").write_text(json.dumps([{"question": "a", "data": 1}, {"question": "b", "data": 2}]))
    assert read(str(tmp_path / "rows.json"))["train"]["question"][:] == ["a", "b"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"answer_start": 4', '"answer_start": "4"', "'answer_start' is missing or not as expected: '4'"),
        ('"answer_start": 4', '"answer_start": 99999999999', "'answer_start' is missing or not as expected"),
        ('"the cat sat"', '"\\ud800"', "surrogates not allowed"),
        ('"the cat sat"', "null", "'context' is missing or not as expected: None"),
        ('"plausible_answers": []}]', '"plausible_answers": []}, 3]', "'answers' is missing"),
    ],
)
def test_a_malformed_field_is_refused_with_its_place(tmp_path: Path, old: str, new: str, message: str):
    path = tmp_path / "bad.json"
    text = json.dumps(SQUAD)
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match="bad.json: article 1, paragraph 1: ") as error:
        read(str(path))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data":[{"paragraphs":[]}]}', "there are no questions"),
        ('{"data":[{"paragraphs":[]}],"data":3}', "'data' is missing or not as expected: 3"),
        ('{"data":[{"paragraphs":[' + "[" * 100_000, "not well-formed JSON"),
    ],
)
def test_a_file_without_questions_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read(str(tmp_path / "bad.json"))
