"""CoNLL files: a word and its tag on each line, a blank line between sentences."""

import re
from pathlib import Path

from datasets import Dataset, Features, List, Value

from lightune.common.errors import UserError
from lightune.data.sources.text_files import not_utf8, open_text

EXTENSIONS = frozenset({".conll", ".bio", ".iob", ".iob2", ".bioes"})
FEATURES = Features({"tokens": List(Value("string")), "ner_tags": List(Value("string"))})
SURE = re.compile(r"O|[BIMESLU]-\S+")  # what nothing but a tag looks like
TAG = re.compile(r"[^\W\d_]\S*")  # PER alone is a tag too; numbers, _ and signs are not
SPACES = re.compile(r"[ \t]+")  # not every white space: some words hold a no-break space

SNIFFED = 8192  # characters


def read_conll(path: Path) -> Dataset:
    """Read ``tokens`` and ``ner_tags``, lists of one length, from the first and the last column of a file.

    Columns are separated by tabs, or by spaces where a line has no tab. ``-DOCSTART-`` lines and comments
    (``# text = …``) are left out.

    Source of the layout: the CoNLL-2003 shared task (Tjong Kim Sang and De Meulder, 2003).

    Raises:
        UserError: a line has one column or ends in what is no tag, there are no sentences, or it is not UTF-8.
    """
    rows: dict[str, list[list[str]]] = {"tokens": [], "ner_tags": []}
    words: list[str] = []
    tags: list[str] = []

    def end_sentence() -> None:
        if words:
            rows["tokens"].append(words.copy())
            rows["ner_tags"].append(tags.copy())
            words.clear()
            tags.clear()

    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                columns = _columns(line)
                if not columns:
                    end_sentence()
                elif not _left_out(columns):
                    if len(columns) < 2 or not TAG.fullmatch(columns[-1]):
                        raise _no_tag(path, number, columns)
                    words.append(columns[0])
                    tags.append(columns[-1])
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    end_sentence()
    if not rows["tokens"]:
        raise UserError(
            f"{path}: there are no sentences.\nExpected a word and its tag on each line: Oslo B-LOC"
        )
    return Dataset.from_dict(rows, features=FEATURES)


def is_conll(path: Path, *, extension: str, known: bool) -> bool:
    """Say whether a file is CoNLL's: by its extension or, where that says nothing, by its first lines.

    Args:
        path: may not be there.
        extension: of the file, without ``.gz``.
        known: whether the extension stands for another format.
    """
    if extension in EXTENSIONS or known or not path.is_file():
        return extension in EXTENSIONS
    try:
        with open_text(path) as file:
            beginning = file.read(SNIFFED)
    except (UnicodeDecodeError, OSError, UserError):
        return False
    lines = beginning.split("\n")
    if len(beginning) == SNIFFED:
        lines.pop()  # it may be cut
    columns = [found for line in lines if (found := _columns(line)) and not _left_out(found)]
    return bool(columns) and all(len(found) > 1 and SURE.fullmatch(found[-1]) for found in columns)


def _columns(line: str) -> list[str]:
    line = line.rstrip(" \t\r\n")
    if "\t" in line:
        return [column.strip(" ") for column in line.split("\t")]
    return SPACES.split(line.lstrip(" ")) if line.strip(" ") else []


def _left_out(columns: list[str]) -> bool:
    comment = columns[0].startswith("#") and not SURE.fullmatch(columns[-1])
    return comment or columns[0].startswith("-DOCSTART-")


def _no_tag(path: Path, number: int, columns: list[str]) -> UserError:
    found = f"{columns[-1]!r} is no tag" if len(columns) > 1 else f"{columns[0]!r:.80} stands alone"
    return UserError(
        f"{path}, line {number}: {found}.\n"
        "Expected a word first and its tag last, such as: Oslo B-LOC\nA blank line ends a sentence."
    )
