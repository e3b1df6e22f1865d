"""CoNLL files: a word and its tag on each line, a blank line between sentences."""

import re
from pathlib import Path

from datasets import Dataset, Features, List, Value

from lightune.common.errors import UserError
from lightune.data.sources.text_files import is_unicode, open_text

EXTENSIONS = frozenset({".conll", ".bio", ".iob", ".iob2", ".bioes"})
FEATURES = Features({"tokens": List(Value("string")), "ner_tags": List(Value("string"))})
PREFIXED_TAG = re.compile(r"O|[BIMESLU]-\S+")  # hardly an ordinary word
TAG = re.compile(r"[^\W\d_]\S*")  # PER alone is a tag too; numbers, _ and signs are not
SPACES = re.compile(r"[ \t]+")  # not all white space: some words hold a no-break space

SNIFF_CHARACTERS = 8192  # enough to tell the format


def read_conll(path: Path) -> Dataset:
    """Read ``tokens`` and ``ner_tags``, lists of one length, from the first and the last column of a file.

    Columns are separated by tabs, or by spaces where a line has no tab. ``-DOCSTART-`` lines and comments
    (``# text = …``) are left out.

    Source of the layout: the CoNLL-2003 shared task (Tjong Kim Sang and De Meulder, 2003).

    Raises:
        UserError: a line has one column or does not end in a tag, there are no sentences, or it is not UTF-8.
    """
    sentences: dict[str, list[list[str]]] = {"tokens": [[]], "ner_tags": [[]]}
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            columns = _columns(line)
            if not columns:
                for lists in sentences.values():
                    if lists[-1]:
                        lists.append([])
            elif not _is_skipped(columns):
                if len(columns) < 2 or not TAG.fullmatch(columns[-1]):
                    raise _no_tag(path, number, columns)
                sentences["tokens"][-1].append(columns[0])
                sentences["ner_tags"][-1].append(columns[-1])
    rows = {name: [items for items in lists if items] for name, lists in sentences.items()}
    if not rows["tokens"]:
        raise UserError(f"{path}: there are no sentences.\nExpected a word and its tag a line: Oslo B-LOC")
    return Dataset.from_dict(rows, features=FEATURES)


def is_conll(path: Path, *, extension: str, known: bool) -> bool:
    """Say whether a file is a CoNLL file, by its extension or, unless that is known as another's, by its first lines."""
    if extension in EXTENSIONS or known or not path.is_file():
        return extension in EXTENSIONS
    try:
        with open_text(path, errors="surrogateescape") as file:
            beginning = file.read(SNIFF_CHARACTERS)
    except (OSError, UserError):
        return False
    lines = beginning.split("\n")
    if len(beginning) == SNIFF_CHARACTERS:
        lines.pop()  # it may be incomplete
    rows = [columns for line in lines if (columns := _columns(line)) and not _is_skipped(columns)]
    looks_tagged = all(len(columns) > 1 and PREFIXED_TAG.fullmatch(columns[-1]) for columns in rows)
    return bool(rows) and looks_tagged and is_unicode(beginning)


def _columns(line: str) -> list[str]:
    line = line.rstrip(" \t\r\n")
    if "\t" in line:
        return [column.strip(" ") for column in line.split("\t")]
    return SPACES.split(line.lstrip(" ")) if line.strip(" ") else []


def _is_skipped(columns: list[str]) -> bool:
    is_comment = columns[0].startswith("#") and not PREFIXED_TAG.fullmatch(columns[-1])
    return is_comment or columns[0].startswith("-DOCSTART-")


def _no_tag(path: Path, number: int, columns: list[str]) -> UserError:
    problem = f"{columns[-1]!r} is not a tag" if len(columns) > 1 else f"{columns[0]!r:.80} stands alone"
    return UserError(
        f"{path}, line {number}: {problem}.\n"
        "Expected a word first and its tag last, such as: Oslo B-LOC\nA blank line ends a sentence."
    )
