"""CSV files, read through once: what the first line names, and that each row has a value for each name."""

import csv
import json
from pathlib import Path

from lightune.common.errors import UserError, listed
from lightune.data.sources.text_files import not_utf8, open_text

csv.field_size_limit(2**31 - 1)  # the default refuses texts of more than 131,072 characters


def csv_columns(path: Path, delimiter: str) -> list[str]:
    """Return the column names, having looked whether the file is in UTF-8 and every row is as long as the first.

    A column without a name, such as the row numbers that pandas writes first, is called as pandas reads it.

    Raises:
        UserError: names the file, the line, what stands there and how to mend it.
    """
    if len(delimiter) != 1:
        raise UserError(
            f"data.delimiter={delimiter!r}: expected one character, such as ',' or ';'.\n"
            "Say for example: 'data.delimiter=\";\"'"
        )
    try:
        with open_text(path) as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = next(reader, [])
            check_header(header, path, delimiter)
            after = reader.line_num
            for row in reader:
                if row and len(row) != len(header):
                    raise _ragged(path, row, columns=len(header), first=after + 1, last=reader.line_num)
                after = reader.line_num
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    except csv.Error as error:
        raise UserError(f"{path}: not well-formed CSV: {error}.") from error
    return [column or f"Unnamed: {index}" for index, column in enumerate(header)]


def check_header(header: list[str], path: Path, delimiter: str) -> None:
    """Look whether a first line names columns.

    Raises:
        UserError: it does not, or separates them by something else, or names one twice.
    """
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
                    f"{path}: its columns are separated by '{spelled}', not by {delimiter!r}: {header[0][:80]!r}.\n"
                    f"Say so: 'data.delimiter=\"{spelled}\"'"
                )
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise UserError(
            f"{path}: the header names {listed(twice)} more than once.\nGive every column its own name."
        )


def _ragged(path: Path, row: list[str], *, columns: int, first: int, last: int) -> UserError:
    way = "Put a text that holds the delimiter between double quotes, and give each row a value for each column."
    if len(row) == 1 and (other := next((one for one in ";\t|" if one in row[0]), None)):
        way = f"Are its columns separated by {other!r}? Say so: 'data.delimiter={json.dumps(other)}'"
    elif last > first:
        way = f"It goes on to line {last}: is a double quote not closed? One inside a text is doubled."
    return UserError(
        f"{path}, line {first}: the row has {len(row)} value(s) for {columns} columns: {listed(row)!r:.120}.\n{way}"
    )
