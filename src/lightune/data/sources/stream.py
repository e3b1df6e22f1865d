"""Rows one by one, each with its place in the file; and the lines of a file, however long it or one of them is."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lightune.common.errors import UserError

LONGEST_LINE = 2**24  # characters


@dataclass(frozen=True, kw_only=True)
class InputRow:
    """What a row holds; ``line`` counts lines, or rows of a table, from 1; ``share`` is how much of the file was read."""

    line: int
    raw: str
    values: dict[str, Any]
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    """What gives no row, and why; bytes of ``raw`` that are not UTF-8 are written as escapes."""

    line: int
    raw: str
    reason: str
    share: float = 0.0


class Line(NamedTuple):
    """A line with its end; what is not UTF-8 of it is surrogates."""

    number: int
    text: str
    share: float

    @property
    def raw(self) -> str:
        text = self.text.rstrip("\r\n")
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")

    def row(self, values: dict[str, Any]) -> InputRow | RejectedRow:
        """Return the row that was read of this line, unless a value is no text, or no list as words and turns are."""
        for column, value in values.items():
            if value is None:
                return self.rejected(f"there is no text in column {column!r}")
            if not isinstance(value, (str, list)):
                return self.rejected(f"column {column!r} holds {value!r:.80}, which is no text")
        if not is_unicode(values):
            return self.rejected("not UTF-8")
        return InputRow(line=self.number, raw=self.raw, values=values, share=self.share)

    def rejected(self, reason: str) -> RejectedRow:
        return RejectedRow(line=self.number, raw=self.raw, reason=reason, share=self.share)


def stream_lines(path: Path) -> Iterator[Line | RejectedRow]:
    """Read a text file, gzipped or not, line by line; one that is too long is rejected.

    Raises:
        UserError: it is called ``.gz`` and is not, or is damaged.
    """
    size = max(1, path.stat().st_size)
    try:
        with path.open("rb") as packed:
            unpacked: Any = gzip.GzipFile(fileobj=packed) if path.suffix == ".gz" else packed
            file = io.TextIOWrapper(unpacked, encoding="utf-8-sig", errors="surrogateescape", newline="")
            number = 0
            while text := file.readline(LONGEST_LINE):
                number += 1
                line = Line(number, text, packed.tell() / size)
                if len(text) < LONGEST_LINE:
                    yield line
                    continue
                yield line.rejected(f"a line of more than {LONGEST_LINE:,} characters; so many are here")
                while text and not text.endswith(("\r", "\n")):
                    text = file.readline(LONGEST_LINE)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: not a whole gzip file: {error}.\nCopy it anew, or take .gz off its name if it is not packed."
        ) from error


def is_unicode(value: Any) -> bool:
    """Say whether there is no half of a surrogate pair in a value, by which bytes that are not UTF-8 are read, too."""
    try:
        (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
    except UnicodeEncodeError:
        return False
    return True
