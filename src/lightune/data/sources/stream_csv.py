"""Records of a CSV file one by one: what is not right costs a record, not the file."""

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from lightune.common.errors import UserError, nearest
from lightune.data.sources.csv_files import check_header
from lightune.data.sources.stream import InputRow, Line, RejectedRow, is_unicode, stream_lines
from lightune.data.sources.text_files import not_utf8

LONGEST_RECORD = 2**20  # characters of a record over several lines: more is a quote that nobody has closed


def csv_rows(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    """Read the columns of a CSV or TSV file, gzipped or not.

    Raises:
        UserError: the header is not right, or lacks a column.
    """
    delimiter = "\t" if ".tsv" in path.name.lower() else ","
    records = _records(stream_lines(path), delimiter)
    first = next(records, None)
    if first is None:
        raise UserError(f"{path}: the file is empty.\nExpected a header and rows.")
    if isinstance(first, RejectedRow):
        raise UserError(f"{path}: not well-formed CSV: the first line: {first.reason}.")
    _, header = first
    if not is_unicode(header):
        raise not_utf8(path)
    check_header(header, path, delimiter)
    for column in columns:
        if column not in header:
            raise UserError(f"{path}: there is no column {column!r}. {nearest(column, header)}")
    for record in records:
        if isinstance(record, RejectedRow):
            yield record
            continue
        line, values = record
        named = dict(zip(header, values, strict=True))
        yield line.row({column: named[column] for column in columns})


def _records(
    lines: Iterator[Line | RejectedRow], delimiter: str
) -> Iterator[tuple[Line, list[str]] | RejectedRow]:
    """Yield the values of each record, as many as the first has, with its lines as one.

    Of a record over several lines that is not right the first line is rejected, and the next begins a record again: a
    quote that is not closed does not swallow what follows.
    """
    width = 0
    again = deque[Line | RejectedRow]()
    while (first := again.popleft() if again else next(lines, None)) is not None:
        if isinstance(first, RejectedRow):
            yield first
            continue
        record: list[Line | RejectedRow] = [first]
        try:
            values = next(csv.reader(_texts(record, again, lines), delimiter=delimiter, strict=True))
            if width and values and len(values) != width:
                raise csv.Error(f"{len(values)} value(s) for {width} columns")
        except csv.Error as error:
            again.extendleft(reversed(record[1:]))
            yield first.rejected(str(error))
            continue
        if values:
            width = len(values)
            yield first._replace(text="".join(line.text for line in record if isinstance(line, Line))), values


def _texts(
    record: list[Line | RejectedRow], again: deque[Line | RejectedRow], lines: Iterator[Line | RejectedRow]
) -> Iterator[str]:
    """Yield the first line of a record, and those that the reader asks for because it is not at its end."""
    characters = 0
    yield record[0].text if isinstance(record[0], Line) else ""
    while (line := again.popleft() if again else next(lines, None)) is not None:
        record.append(line)
        if isinstance(line, RejectedRow) or (characters := characters + len(line.text)) > LONGEST_RECORD:
            break
        yield line.text
    raise csv.Error("a double quote is not closed")
