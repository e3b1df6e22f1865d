"""What a CSV file's first line says."""

import csv
from pathlib import Path

from finetune.data.text_files import not_utf8, open_text
from finetune.errors import UserError, listed


def csv_header(path: Path, delimiter: str) -> list[str]:
    """Return the column names, having looked whether the file is separated as expected."""
    try:
        with open_text(path) as file:
            header = next(csv.reader(file, delimiter=delimiter), [])
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
    if not any(column.strip() for column in header):
        raise UserError(
            f"{path}: the first line names no columns.\nExpected a header such as: text{delimiter}label"
        )
    if len(header) == 1:
        for other, spelled in ((",", ","), (";", ";"), ("\t", "\\t"), ("|", "|")):
            if other != delimiter and other in header[0]:
                raise UserError(
                    f"{path}: its columns are separated by {spelled!r}, not by {delimiter!r}: {header[0][:80]!r}.\n"
                    f"Say so: 'data.delimiter=\"{spelled}\"'"
                )
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise UserError(
            f"{path}: the header names {listed(twice)} more than once.\nGive every column its own name."
        )
    return header
