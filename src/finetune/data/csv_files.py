"""What a CSV file's first line says."""

import csv
from pathlib import Path

from finetune.data.text_files import not_utf8, open_text
from finetune.errors import UserError, listed

csv.field_size_limit(2**31 - 1)  # the default refuses texts of more than 131,072 characters


def csv_header(path: Path, delimiter: str) -> list[str]:
    """Return the column names, having looked whether the file is separated as expected.

    A column without a name, such as the row numbers that pandas writes first, is called as pandas reads it.
    """
    try:
        with open_text(path) as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = next(reader, [])
            first = next(filter(None, reader), [])
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
    except csv.Error as error:
        raise UserError(f"{path}: not well-formed CSV: {error}.") from error
    if any("\0" in column for column in header):
        raise UserError(f"{path}: the first line holds a NUL: this is no text file, or not in UTF-8.")
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
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise UserError(
            f"{path}: the header names {listed(twice)} more than once.\nGive every column its own name."
        )
    if len(first) > len(header):  # pandas would take the first column for row numbers, and shift the others
        raise UserError(
            f"{path}: the first row has {len(first)} values for {len(header)} columns: {listed(first)!r:.120}.\n"
            f"Put a text that holds {delimiter!r} between double quotes."
        )
    return [column or f"Unnamed: {index}" for index, column in enumerate(header)]
