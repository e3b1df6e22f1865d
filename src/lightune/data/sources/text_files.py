"""Text files, gzipped or not, in UTF-8."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lightune.common.errors import UserError


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a text file; a byte order mark is not part of its text, and line ends stay as they are.

    Raises:
        UserError: it is called ``.gz`` and is not, or is damaged.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: not a whole gzip file: {error}.\nCopy it anew, or take .gz off its name if it is not packed."
        ) from error


def not_utf8(path: Path) -> UserError:
    """Return what to say of a file in another encoding: the first line that is not UTF-8, and what is."""
    opened = gzip.open if path.suffix == ".gz" else open
    number, line = 0, b""
    with opened(path, "rb") as file:
        for line in file:
            number += 1
            if not _is_utf8(line):
                break
    encoding = "UTF-16" if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")) else "WINDOWS-1252"
    return UserError(
        f"{path}, line {number}: not UTF-8: {_around(line)!r}.\n"
        f"Convert it, for example: iconv -f {encoding} -t UTF-8 OLD > NEW"
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _around(line: bytes) -> bytes:
    """Return the bytes about the first that is no UTF-8."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return line[max(0, error.start - 10) : error.end + 10]
    return line[-20:]


def read_lines(path: Path) -> list[str]:
    """Read a text a line, gzipped or not; empty lines are texts too."""
    try:
        with open_text(path) as file:
            return [line.rstrip("\r\n") for line in file]
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
