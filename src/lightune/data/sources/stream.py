"""Input rows one by one, each with its place in the file; and the lines of a file of any length."""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lightune.common.errors import UserError, nearest
from lightune.data.sources.text_files import is_unicode, open_text

LONGEST_LINE = 2**24  # characters


@dataclass(frozen=True, kw_only=True)
class InputRow:
    """A row as the file has it, and its columns.

    ``line`` counts lines, or rows of a table, from 1; ``columns`` are all that the row names, ``values`` those asked for;
    ``share`` is how much of the file has been read.
    """

    line: int
    raw: str
    values: dict[str, Any]
    columns: dict[str, Any] = field(default_factory=dict)
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    """A row that cannot be used, and the reason; ``raw`` has escapes for bytes that are not UTF-8."""

    line: int
    raw: str
    reason: str
    share: float = 0.0


class Line(NamedTuple):
    """A line with its line end; lone surrogates stand for bytes that are not UTF-8."""

    number: int
    text: str
    share: float

    @property
    def raw(self) -> str:
        text = self.text.rstrip("\r\n")
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")

    def row(self, values: dict[str, Any], columns: dict[str, Any] | None = None) -> InputRow | RejectedRow:
        """Return the line as a row with these values; each must be a text, or a list (of words or turns)."""
        for column, value in values.items():
            if value is None:
                return self.rejected(f"there is no text in column {column!r}")
            if not isinstance(value, (str, list)):
                return self.rejected(f"column {column!r} holds {value!r:.80}, which is not a text")
        if not is_unicode(columns or values):
            return self.rejected("not UTF-8")
        return InputRow(line=self.number, raw=self.raw, values=values, columns=columns or {}, share=self.share)

    def rejected(self, reason: str) -> RejectedRow:
        return RejectedRow(line=self.number, raw=self.raw, reason=reason, share=self.share)


def stream_lines(path: Path, *, file: io.BufferedReader | None = None) -> Iterator[Line | RejectedRow]:
    """Read a text file, gzipped or not, or the open ``file`` that ``path`` names, such as standard input, line by line.

    A line of ``LONGEST_LINE`` characters or more is rejected. A damaged ``.gz`` file raises a UserError.
    """
    size = max(1, path.stat().st_size) if file is None else None
    with open_text(path, file=file, errors="surrogateescape") as text_file:
        # the file that a GzipFile unpacks
        raw: Any = getattr(text_file.buffer, "fileobj", text_file.buffer)
        number = 0
        while text := text_file.readline(LONGEST_LINE):
            number += 1
            line = Line(number, text, raw.tell() / size if size else 0.0)
            if len(text) < LONGEST_LINE:
                yield line
                continue
            yield line.rejected(f"a line of more than {LONGEST_LINE:,} characters, cut off here")
            while text and not text.endswith(("\r", "\n")):
                text = text_file.readline(LONGEST_LINE)


def read_rows(rows: Iterable[Any], columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    """Read a program's rows: values of the only column, tuples of several, dicts by column name; UserError for others."""
    for number, row in enumerate(rows, start=1):
        values = row
        if not isinstance(row, Mapping):
            given = row if isinstance(row, tuple) or (isinstance(row, list) and len(columns) > 1) else (row,)
            values = dict(zip(columns, given, strict=True)) if len(given) == len(columns) else {}
        if not values.keys() >= {*columns}:
            raise UserError(f"Row {number}, {row!r:.80}: this run reads the column(s) {', '.join(columns)}.")
        text = str(row).encode(errors="backslashreplace").decode()
        yield Line(number, text, 0.0).row({name: values[name] for name in columns}, columns=dict(values))


def require_columns(path: Path, columns: Iterable[str], names: list[str]) -> None:
    """Raise a UserError, with the nearest name, if a table with columns of these ``names`` lacks one of ``columns``."""
    for column in columns:
        if column not in names:
            raise UserError(f"{path}: there is no column {column!r}. {nearest(column, names)}")
