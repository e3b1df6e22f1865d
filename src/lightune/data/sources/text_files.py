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

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@contextmanager
def open_text(path: Path, *, errors: str = "strict") -> Iterator[io.TextIOWrapper]:
    """Open a text file. A byte order mark is not part of its text, and line ends stay as they are.

    Raises:
        UserError: the file is not in UTF-8, or its name ends in ``.gz`` and it is damaged or not gzipped.
    """
    try:
        with path.open("rb") as file:
            unpacked: Any = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            yield io.TextIOWrapper(unpacked, encoding="utf-8-sig", errors=errors, newline="")
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: not a whole gzip file: {error}.\nCopy it again, or remove .gz from its name if it is not gzipped."
        ) from error


def not_utf8(path: Path) -> UserError:
    """Return the error for a file in another encoding: it shows the first line that is not UTF-8."""
    opened = gzip.open if path.suffix == ".gz" else open
    number, line, excerpt = 0, b"", b""
    with opened(path, "rb") as file:
        for line in file:
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
