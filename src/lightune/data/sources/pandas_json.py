"""What ``to_json`` of pandas writes, without ``lines=True``, becomes columns."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from datasets import Dataset

from lightune.data.sources.text_files import open_text

NAME = r'"(?:[^"\\]|\\.)*"'
LAYOUT = re.compile(rf'\s*\{{\s*(?:{NAME}\s*:\s*\{{\s*"\d+"\s*:|"\d+"\s*:\s*\{{|"(?:columns|index|schema)"\s*:)')


def may_be_pandas(start: str) -> bool:
    """Say by its first characters whether a JSON file looks like one that pandas wrote."""
    return LAYOUT.match(start) is not None


def read_pandas(path: Path) -> Dataset | None:
    """Read a file in the layout ``columns`` (the default), ``index``, ``split`` or ``table``; None if it is none."""
    with suppress(ValueError, TypeError, KeyError, RecursionError), open_text(path) as file:
        if rows := _rows(json.load(file)):
            return Dataset.from_list(rows, on_mixed_types="use_json")
    return None


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
