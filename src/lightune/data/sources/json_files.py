"""JSON files: checked where datasets cannot read them, or read line by line."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightune.common.errors import UserError, nearest
from lightune.data.sources.stream import InputRow, Line, RejectedRow, stream_lines
from lightune.data.sources.text_files import is_unicode, open_text

PEEK_CHARACTERS = 4096  # enough to tell the kind of a file
NO_OBJECT = "not a JSON object"
EXAMPLE = '{"text": "…", "label": "…"}'


def json_start(path: Path) -> str:
    """Return the first characters of a JSON file; UserError unless it begins an object or a list.

    Arrow's reader, which datasets calls, ends the process at a file that begins with ``null``.
    """
    start = ""
    with open_text(path) as file:
        while not start and (characters := file.read(PEEK_CHARACTERS)):
            start = characters.lstrip()
    if not start:
        raise UserError(f"{path}: there are no rows.\nExpected one JSON object a line, or a list of objects.")
    if start[0] not in "{[":
        raise UserError(
            f"{path}: not well-formed JSON: it begins with {start[:20]!r}.\n"
            f"Expected one JSON object a line, such as {EXAMPLE}, or a list of objects."
        )
    return start


def find_malformed(path: Path) -> UserError | None:
    """Return the error for the first line that is not a JSON object; None if there is none, or all is one value."""
    bad = next((row for row in stream_jsonl(path, []) if isinstance(row, RejectedRow)), None)
    if bad is None:
        return None
    is_value = path.name.removesuffix(".gz").endswith(".json") or bad.reason == NO_OBJECT
    if bad.line > 1 or not is_value:
        expected = f"Expected one JSON object a line, such as {EXAMPLE}."
        return UserError(f"{path}, line {bad.line}: {bad.reason}: {bad.raw.strip()!r:.100}.\n{expected}")
    with open_text(path) as file, suppress(RecursionError):
        try:
            json.load(file)
        except json.JSONDecodeError as error:
            return UserError(
                f"{path}, line {error.lineno}: not well-formed JSON: {error.msg} at character {error.colno}.\n"
                "Expected a list of objects, or one JSON object a line."
            )
    return None


def stream_jsonl(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    """Read these columns of a file with a JSON object a line, gzipped or not; a bad line is rejected."""
    for line in stream_lines(path):
        if isinstance(line, RejectedRow):
            yield line
        elif line.text.strip():
            yield json_row(line, columns)


def json_row(line: Line, columns: list[str]) -> InputRow | RejectedRow:
    """Return a JSON object as a row with these columns, or say why it is none."""
    if not is_unicode(line.text):
        return line.rejected("not UTF-8")
    try:
        value = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        return line.rejected(f"not well-formed JSON: {reason}"[:200])
    if not isinstance(value, dict):
        return line.rejected(NO_OBJECT)
    try:
        return line.row({column: look_up(value, column) for column in columns}, value)
    except KeyError as error:
        return line.rejected(f"there is no column {error}. {nearest(error.args[0], value)}")


def look_up(row: Mapping[str, Any], column: str) -> Any:
    """Return a column of a row, or raise a KeyError; ``a.b`` is ``b`` inside ``a``, where no column is so named."""
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, dict) or name not in value:
            raise KeyError(column)
        value = value[name]
    return value
