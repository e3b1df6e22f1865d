"""What ``to_json`` of pandas writes, without ``lines=True``, becomes columns."""

import json
import re
from pathlib import Path
from typing import Any

from datasets import Dataset
from pyarrow.lib import ArrowException

from lightune.common.errors import UserError
from lightune.data.sources.text_files import open_text

NAME = r'"(?:[^"\\]|\\.)*"'
LAYOUT = re.compile(rf'\s*\{{\s*(?:{NAME}\s*:\s*\{{\s*"\d+"\s*:|"\d+"\s*:\s*\{{|"(?:columns|index|schema)"\s*:)')


def may_be_pandas(start: str) -> bool:
    """Say by its first characters whether a JSON file looks like one that pandas wrote."""
    return LAYOUT.match(start) is not None


def read_pandas(path: Path) -> Dataset | None:
    """Read a file in one of the layouts ``columns`` (the default), ``index``, ``split`` and ``table``; None if it is none.

    Raises:
        UserError: a column holds values of several kinds.
    """
    try:
        with open_text(path) as file:
            rows = _rows(json.load(file))
    except (ValueError, RecursionError):
        return None
    try:
        return Dataset.from_list(rows) if rows else None
    except (ArrowException, TypeError, ValueError) as error:
        raise UserError(f"{path}: a column holds values of several kinds: {error}") from error


def _rows(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("data"), list) and {*value} <= {"columns", "index", "data", "schema"}:
        return [
            row if isinstance(row, dict) else dict(zip(value["columns"], row, strict=True)) for row in value["data"]
        ]
    inner = [*value.values()]
    if not inner or not all(isinstance(cells, dict) and [*cells] == [*inner[0]] for cells in inner):
        return []
    if all(key.isdecimal() for key in value):  # a row under each number
        return inner
    return [dict(zip(value, cells, strict=True)) for cells in zip(*(cells.values() for cells in inner), strict=True)]
