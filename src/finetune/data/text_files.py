"""Text files, gzipped or not, in UTF-8."""

import gzip
from pathlib import Path
from typing import IO

from finetune.errors import UserError


def open_text(path: Path) -> IO[str]:
    """Open a text file; a byte order mark is not part of its text, and line ends stay as they are."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


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
