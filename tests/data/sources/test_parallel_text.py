from pathlib import Path

import pytest

from lightune.common.errors import UserError
from lightune.data.sources.read import read


def test_a_file_for_each_language_becomes_a_column(tmp_path: Path):
    for name, text in (
        ("train.en", "good\nbad\n"),
        ("train.de", "gut\nschlecht\n"),
        ("val.en", "a\n"),
        ("val.de", "ä\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("x")
    splits = read(str(tmp_path))
    assert splits["train"].to_list() == [{"de": "gut", "en": "good"}, {"de": "schlecht", "en": "bad"}]
    assert splits["validation"].to_list() == [{"de": "ä", "en": "a"}]


def test_a_split_without_the_other_language_is_refused(tmp_path: Path):
    for name in ("train.en", "train.de", "test.en"):
        (tmp_path / name).write_text("good\n")
    with pytest.raises(UserError, match="test.en: the test split has one language"):
        read(str(tmp_path))


def test_tables_and_logs_are_not_languages(tmp_path: Path):
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("text,label\ngood,1\n")
    (tmp_path / "train.log").write_text("x\n")
    assert set(read(str(tmp_path))) == {"train", "test"}


def test_files_of_uneven_length_are_refused(tmp_path: Path):
    (tmp_path / "train.en").write_text("good\nbad\n")
    (tmp_path / "train.de").write_text("gut\n")
    with pytest.raises(UserError, match=r"train.de: 1 lines\n.*train.en: 2 lines"):
        read(str(tmp_path))
