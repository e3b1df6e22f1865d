"""What a JSON file's beginning says."""

from pathlib import Path

from finetune.data.text_files import not_utf8, open_text
from finetune.errors import UserError

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
        raise not_utf8(path, error) from error
    if not start:
        raise UserError(f"{path}: there are no rows.\nExpected one JSON object a line, or a list of objects.")
    if start[0] not in "{[":
        raise UserError(
            f"{path}: not well-formed JSON: it begins with {start[:20]!r}.\n"
            'Expected one JSON object a line, such as {"text": "…", "label": "…"}, or a list of objects.'
        )
    return start
