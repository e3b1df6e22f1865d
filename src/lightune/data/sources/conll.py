"""CoNLL files: a word and its tag on each line, a blank line between sentences."""

import logging
import re
from pathlib import Path

from datasets import Dataset, Features, List, Value
from lightning.pytorch.utilities import rank_zero_only

from lightune.common.bio_tags import no_scheme, read_spellings
from lightune.common.errors import UserError
from lightune.data.sources.text_files import is_unicode, open_text

log = logging.getLogger(__name__)

EXTENSIONS = frozenset({".conll", ".bio", ".iob", ".iob2", ".bioes", ".conllu", ".conllup"})
PREFIXED_TAG = re.compile(r"O|[BIMESLU]-\S+")  # hardly an ordinary word
TAG_LIKE = re.compile(r"[OoBI]|[BIMESLUWbi][-_]\S+")  # nor is it, at the end of every line
TAG = re.compile(r"[^\W\d_]\S*")  # PER alone is a tag too; numbers, _ and signs are not
NUMBER = re.compile(r"\d+([-.]\d+)?")  # 3-4 and 3.1 number what is no word of its own
SPACES = re.compile(r"[ \t]+")  # not all white space: some words hold a no-break space
CONLL_U = ("numbers", "tokens", "lemmas", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")

SNIFF_CHARACTERS = 8192  # enough to tell the format

Line = tuple[int, list[str]]  # its number, and its columns


def read_conll(path: Path) -> Dataset:
    """Read ``tokens`` and ``ner_tags``, lists of one length, from the first and the last column of a file.

    Columns are separated by tabs, or by spaces where a line has no tab. ``-DOCSTART-`` lines and comments
    (``# text = …``) are left out. Where the first column numbers the words, the second holds them, tags are the last
    column of such, or the first of two (GermEval 2014), and the others are read too: by their names in CoNLL-U, or
    as ``column_3`` and so on.

    Source of the layout: the CoNLL-2003 shared task (Tjong Kim Sang and De Meulder, 2003).

    Raises:
        UserError: a line has one column or does not end in a tag, there are no sentences, or it is not UTF-8.
    """
    sentences = _sentences(path)
    lines = [line for sentence in sentences for line in sentence]
    if not lines:
        raise UserError(f"{path}: there are no sentences.\nExpected a word and its tag a line: Oslo B-LOC")
    names = {"tokens": 0, "ner_tags": -1}
    if all(len(columns) > 2 and NUMBER.fullmatch(columns[0]) for _, columns in lines):
        names = _numbered_columns(path, lines)
        sentences = [[line for line in sentence if line[1][0].isdecimal()] for sentence in sentences]
    if "ner_tags" in names:
        first_lines: dict[str, int] = {}
        for number, columns in lines:
            if len(columns) < 2 or not TAG.fullmatch(columns[names["ner_tags"]]):
                problem = f"{columns[-1]!r} is not a tag" if len(columns) > 1 else f"{columns[0]!r:.80} stands alone"
                raise UserError(
                    f"{path}, line {number}: {problem}.\n"
                    "Expected a word first and its tag last, such as: Oslo B-LOC\nA blank line ends a sentence."
                )
            first_lines.setdefault(columns[names["ner_tags"]], number)
        spellings = read_spellings(first_lines)
        for tag, number in first_lines.items():
            if tag not in spellings:
                raise UserError(f"{path}, line {number}: {no_scheme(tag, spellings)}")
    rows = {name: [[columns[index] for _, columns in s] for s in sentences] for name, index in names.items()}
    return Dataset.from_dict(rows, features=Features(dict.fromkeys(names, List(Value("string")))))


def _sentences(path: Path) -> list[list[Line]]:
    sentences: list[list[Line]] = [[]]
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            columns = _columns(line)
            if not columns and sentences[-1]:
                sentences.append([])
            elif columns and not _is_skipped(columns):
                sentences[-1].append((number, columns))
    return [sentence for sentence in sentences if sentence]


def _numbered_columns(path: Path, lines: list[Line]) -> dict[str, int]:
    """Return the names of the columns and where they stand, in a file whose first column numbers the words."""
    width = len(lines[0][1])
    for number, columns in lines:
        if len(columns) != width:
            raise UserError(f"{path}, line {number}: {len(columns)} columns, {width} in the lines before.")
    is_conll_u = width == len(CONLL_U)
    names = CONLL_U if is_conll_u else ("numbers", "tokens", *(f"column_{index}" for index in range(3, width + 1)))
    tags = [index for index in range(2, width) if all(TAG_LIKE.fullmatch(columns[index]) for _, columns in lines)]
    if not is_conll_u or tags:
        chosen = 2 if tags == [2, 3] and width == 4 else (tags or [-1])[-1]
        names = tuple("ner_tags" if index == chosen % width else name for index, name in enumerate(names))
    told = ", ".join(names[1:])
    rank_zero_only(log.info)(f"{path}: the first column numbers the words; the others are {told}")
    return {name: index for index, name in enumerate(names) if index > 0}


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
    looks_tagged = all(len(columns) > 1 and TAG_LIKE.fullmatch(columns[-1]) for columns in rows)
    return bool(rows) and looks_tagged and is_unicode(beginning)


def _columns(line: str) -> list[str]:
    line = line.rstrip(" \t\r\n")
    if "\t" in line:
        return [column.strip(" ") for column in line.split("\t")]
    return SPACES.split(line.lstrip(" ")) if line.strip(" ") else []


def _is_skipped(columns: list[str]) -> bool:
    is_comment = columns[0].startswith("#") and (columns[2:3] == ["="] or not PREFIXED_TAG.fullmatch(columns[-1]))
    return is_comment or columns[0].startswith("-DOCSTART-")
