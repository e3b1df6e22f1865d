"""Text files in UTF-8, gzipped or not."""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightune.common.errors import UserError
from lightune.common.files import LFS_POINTER

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@contextmanager
def open_text(
    path: Path, *, file: io.BufferedReader | None = None, errors: str = "strict"
) -> Iterator[io.TextIOWrapper]:
    """Open a text file. A byte order mark is not part of its text, and line ends stay as they are.

    ``file`` is its content, where it is a member of an archive.

    Raises:
        UserError: the file is not in UTF-8 or a pointer of Git LFS, or its name ends in ``.gz`` and it is damaged or
            not gzipped.
    """
    with file or path.open("rb") as opened:
        refuse_pointer(path, opened)
        try:
            yield io.TextIOWrapper(_unpacked(path, opened), encoding="utf-8-sig", errors=errors, newline="")
        except UnicodeDecodeError as error:
            raise not_utf8(path, opened) from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(
                f"{path}: not a whole gzip file: {error}.\n"
                "Copy it again, or remove .gz from its name if it is not gzipped."
            ) from error


def refuse_pointer(path: Path, file: io.BufferedReader) -> None:
    """Raise a UserError if a file is a pointer of Git LFS, which has not fetched its content."""
    if file.peek(len(LFS_POINTER)).startswith(LFS_POINTER):
        raise UserError(f"{path}: a pointer of Git LFS, not the file itself.\nFetch the file: git lfs pull")


def _unpacked(path: Path, file: io.BufferedReader) -> Any:
    return gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file


def not_utf8(path: Path, file: io.BufferedReader | None = None) -> UserError:
    """Return the error for a file in another encoding: it shows the first line that is not UTF-8."""
    number, line, excerpt = 0, b"", b""
    with file or path.open("rb") as opened:
        opened.seek(0)
        for line in _unpacked(path, opened):
            number += 1
            try:
                excerpt = line[-20:]
                line.decode()
            except UnicodeDecodeError as error:
                excerpt = line[max(0, error.start - 10) : error.end + 10]
                break
    encoding = "UTF-16" if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")) else "WINDOWS-1252"
    return UserError(
        f"{path}, line {number}: not UTF-8: {excerpt!r}.\n"
        f"Convert it, for example: iconv -f {encoding} -t UTF-8 OLD > NEW"
    )


def is_unicode(value: Any) -> bool:
    """Say whether a value holds no lone surrogate, which also stands for a byte that is not UTF-8."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return LONE_SURROGATE.search(text) is None


def read_lines(path: Path) -> list[str]:
    """Read a text file as one text a line; an empty line is a text too."""
    with open_text(path) as file:
        return [line.rstrip("\r\n") for line in file]
