"""What a JSON file's beginning says."""

import json
from pathlib import Path

from lightune.common.errors import UserError
from lightune.data.sources.text_files import not_utf8, open_text

PEEK = 4096  # characters that tell what a file is


def json_start(path: Path) -> str:
    """Return the first characters of a JSON file, having looked whether they begin objects.

    Arrow's reader, which datasets calls, ends the process at a file that begins with ``null``.

    Raises:
        UserError: there is nothing in it, or it begins with something else than an object or a list.
    """
    start = ""
    try:
        with open_text(path) as file:
            while not start and (read := file.read(PEEK)):
                start = read.lstrip()
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    if not start:
        raise UserError(f"{path}: there are no rows.\nExpected one JSON object a line, or a list of objects.")
    if start[0] not in "{[":
        raise UserError(
            f"{path}: not well-formed JSON: it begins with {start[:20]!r}.\n"
            'Expected one JSON object a line, such as {"text": "…", "label": "…"}, or a list of objects.'
        )
    return start


def bad_line(path: Path) -> UserError | None:
    """Return what to say of the first line that is no JSON; None where each is, or the file is one value."""
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                value = json.loads(line) if line.strip() else {}
            except json.JSONDecodeError as error:
                if number == 1 and path.name.removesuffix(".gz").endswith(".json"):
                    return _bad_value(path)
                return UserError(
                    f"{path}, line {number}: not well-formed JSON: {error.msg} at character {error.colno}: {line.strip()!r:.100}.\n"
                    "Expected one JSON object a line."
                )
            except RecursionError:
                return None
            if number > 1 and not isinstance(value, dict):
                return UserError(
                    f"{path}, line {number}: {line.strip()!r:.100} is no object.\n"
                    'Expected one JSON object a line, such as {"text": "…", "label": "…"}.'
                )
    return None


def _bad_value(path: Path) -> UserError | None:
    """Look at a file as one value over several lines."""
    try:
        with open_text(path) as file:
            json.load(file)
    except json.JSONDecodeError as error:
        return UserError(
            f"{path}, line {error.lineno}: not well-formed JSON: {error.msg} at character {error.colno}.\n"
            "Expected a list of objects, or one JSON object a line."
        )
    except RecursionError:
        pass
    return None
