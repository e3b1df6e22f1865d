"""Rows of line-based files, one by one: a row with its line number, or why it is none."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """The values of the columns asked for; ``line`` counts from 1."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A line that gives no row; bytes of ``raw`` that are not UTF-8 are written as escapes."""

    line: int
    reason: str
    raw: str


def jsonl_rows(path: Path, columns: list[str]) -> Iterator[Row | Rejected]:
    """Yield a row or a rejection for each line of a JSONL file, gzipped or not; blank lines are left out."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw.strip():
                yield _row(raw.rstrip(b"\r\n"), number, columns)


def _row(raw: bytes, line: int, columns: list[str]) -> Row | Rejected:
    shown = raw.decode("utf-8", errors="backslashreplace")
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return Rejected(line=line, reason="not UTF-8", raw=shown)
    except (ValueError, RecursionError) as error:
        return Rejected(line=line, reason=f"not well-formed JSON: {error}"[:200], raw=shown)
    if not isinstance(value, dict):
        return Rejected(line=line, reason="no JSON object", raw=shown)
    for column in columns:
        if column not in value:
            return Rejected(line=line, reason=f"there is no column {column!r}", raw=shown)
    return Row(line=line, values={column: value[column] for column in columns})
