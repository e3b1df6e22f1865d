"""CSV files: checked as a whole before datasets reads them, or read record by record."""

import csv
import json
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from lightune.common.errors import UserError, listed
from lightune.data.sources.stream import InputRow, Line, RejectedRow, require_columns, stream_lines
from lightune.data.sources.text_files import is_unicode, not_utf8, open_text

csv.field_size_limit(2**31 - 1)  # the default refuses texts of more than 131,072 characters

EXCEL = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
LONGEST_RECORD = 2**20  # characters over several lines; a longer record has a quote that is not closed
SEPARATORS = {",": ",", ";": ";", "\t": "\\t", "|": "|"}
"""Common delimiters, and how each is written on a command line."""


def find_delimiter(path: Path) -> tuple[str, int]:
    """Return Excel's ``sep=;`` of the first line and 1, the lines before the header; else a tab for TSV or a comma."""
    with open_text(path, errors="surrogateescape") as file:
        declared = EXCEL.fullmatch(file.readline(LONGEST_RECORD))
    return (declared[1], 1) if declared else ("\t" if ".tsv" in path.name.lower() else ",", 0)


def check_csv(path: Path, delimiter: str, *, skipped: int) -> list[str]:
    """Return the column names of a CSV file after a look at all its rows: each has a value for each column.

    A column without a name, such as the row numbers that pandas writes first, is called as pandas reads it. The
    header follows the ``skipped`` lines.

    Raises:
        UserError: names the file, the line, its content and the fix.
    """
    if len(delimiter) != 1:
        raise UserError(
            f"data.delimiter={delimiter!r}: expected one character, such as ',' or ';'.\n"
            "Set for example 'data.delimiter=\";\"'"
        )
    try:
        with open_text(path) as file:
            reader = csv.reader(islice(file, skipped, None), delimiter=delimiter)
            header = next(reader, [])
            check_header(header, path, delimiter)
            last_line = reader.line_num + skipped
            for row in reader:
                first_line, last_line = last_line + 1, reader.line_num + skipped
                if row and len(row) != len(header):
                    raise _ragged(path, row, len(header), first=first_line, last=last_line)
    except csv.Error as error:
        raise UserError(f"{path}: not well-formed CSV: {error}.") from error
    return [column or f"Unnamed: {index}" for index, column in enumerate(header)]


def check_header(header: list[str], path: Path, delimiter: str) -> None:
    """Raise a UserError if the first line names no columns, has another delimiter, or names a column twice."""
    if any("\0" in column for column in header):
        raise UserError(f"{path}: the first line holds a NUL: this is not a text file, or not in UTF-8.")
    if not any(column.strip() for column in header):
        raise UserError(f"{path}: the first line names no columns.\nExpected a header such as: text{delimiter}label")
    if len(header) == 1:
        for other, spelling in SEPARATORS.items():
            if other != delimiter and other in header[0]:
                raise UserError(
                    f"{path}: its columns are separated by '{spelling}', not by {delimiter!r}: {header[0][:80]!r}.\n"
                    f"Set 'data.delimiter=\"{spelling}\"'"
                )
    if repeated := sorted({column for column in header if column and header.count(column) > 1}):
        raise UserError(f"{path}: the header names {listed(repeated)} more than once.\nGive each column its own name.")


def _ragged(path: Path, row: list[str], num_columns: int, *, first: int, last: int) -> UserError:
    fix = "Put a text that holds the delimiter between double quotes, and give each row a value for each column."
    if len(row) == 1 and (other := next((character for character in ";\t|" if character in row[0]), None)):
        fix = f"Are its columns separated by {other!r}? Then set 'data.delimiter={json.dumps(other)}'"
    elif last > first:
        fix = f"It goes on to line {last}: is a double quote not closed? Write a double quote inside a text twice."
    return UserError(
        f"{path}, line {first}: the row has {len(row)} value(s) for {num_columns} columns: {listed(row)!r:.120}.\n{fix}"
    )


def stream_csv(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    """Read these columns of a CSV or TSV file, gzipped or not; a bad record is rejected, the rest is read.

    Raises:
        UserError: the header is malformed or lacks a column.
    """
    delimiter, skipped = find_delimiter(path)
    records = _records(islice(stream_lines(path), skipped, None), delimiter)
    first = next(records, None)
    if first is None:
        raise UserError(f"{path}: the file is empty.\nExpected a header and rows.")
    if isinstance(first, RejectedRow):
        raise UserError(f"{path}: not well-formed CSV: the first line: {first.reason}.")
    _, header = first
    if not is_unicode(header):
        raise not_utf8(path)
    check_header(header, path, delimiter)
    require_columns(path, columns, header)
    for record in records:
        if isinstance(record, RejectedRow):
            yield record
        else:
            line, values = record
            by_name = dict(zip(header, values, strict=True))
            yield line.row({column: by_name[column] for column in columns}, by_name)


def _records(lines: Iterator[Line | RejectedRow], delimiter: str) -> Iterator[tuple[Line, list[str]] | RejectedRow]:
    """Yield each record as one Line, with its values: as many as the first record has.

    Of a bad record over several lines only the first line is rejected, and a new record begins with the second:
    a quote that is not closed does not swallow the lines after it.
    """
    width = 0
    returned = deque[Line | RejectedRow]()
    while (first := returned.popleft() if returned else next(lines, None)) is not None:
        if isinstance(first, RejectedRow):
            yield first
            continue
        record: list[Line | RejectedRow] = [first]
        try:
            values = next(csv.reader(_texts(record, returned, lines), delimiter=delimiter, strict=True))
            if width and values and len(values) != width:
                raise csv.Error(f"{len(values)} value(s) for {width} columns")
        except csv.Error as error:
            returned.extendleft(reversed(record[1:]))
            yield first.rejected(str(error))
            continue
        if values:
            width = len(values)
            yield first._replace(text="".join(line.text for line in record if isinstance(line, Line))), values


def _texts(
    record: list[Line | RejectedRow], returned: deque[Line | RejectedRow], lines: Iterator[Line | RejectedRow]
) -> Iterator[str]:
    """Yield the lines of a record, and add those after the first to it: csv.reader takes as many as it needs."""
    characters = 0
    yield record[0].text if isinstance(record[0], Line) else ""
    while (line := returned.popleft() if returned else next(lines, None)) is not None:
        record.append(line)
        if isinstance(line, RejectedRow) or (characters := characters + len(line.text)) > LONGEST_RECORD:
            break
        yield line.text
    raise csv.Error("a double quote is not closed")
