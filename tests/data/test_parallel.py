from pathlib import Path

import pytest

from finetune.data.readers import read
from finetune.errors import UserError


def test_a_file_a_language_becomes_a_column_a_language(tmp_path: Path):
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


def test_files_of_uneven_length_are_refused(tmp_path: Path):
    (tmp_path / "train.en").write_text("good\nbad\n")
    (tmp_path / "train.de").write_text("gut\n")
    with pytest.raises(UserError, match=r"train.de: 1 lines\n.*train.en: 2 lines"):
        read(str(tmp_path))
