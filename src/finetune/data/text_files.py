"""Text files, gzipped or not, in UTF-8."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from finetune.errors import UserError


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


def not_utf8(path: Path, error: UnicodeDecodeError) -> UserError:
    """Return what to say of a file in another encoding."""
    return UserError(
        f"{path}: not UTF-8: {error.reason} at byte {error.start}.\n"
        "Convert it, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW"
    )


def read_lines(path: Path) -> list[str]:
    """Read a text a line, gzipped or not; empty lines are texts too."""
    try:
        with open_text(path) as file:
            return [line.rstrip("\r\n") for line in file]
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
