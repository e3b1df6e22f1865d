"""Rows of a file of any format one by one, however long it is: the columns that were asked for, or why there are none."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
from pyarrow.lib import ArrowException

from lightune.common.errors import UserError, nearest
from lightune.data.sources.content import check_content
from lightune.data.sources.json_files import PEEK
from lightune.data.sources.read import read_table, table_format
from lightune.data.sources.squad_json import is_squad
from lightune.data.sources.stream import InputRow, Line, RejectedRow, is_unicode, stream_lines
from lightune.data.sources.stream_csv import csv_rows

AT_A_TIME = 1024  # rows of a table


def stream_rows(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    """Read a file in the order of its rows: a line, a CSV record or a batch of Parquet at a time.

    JSON that is one list, SQuAD's and CoNLL files are read whole.

    Args:
        path: CSV, TSV, JSON, JSONL, Parquet, CoNLL or SQuAD's, gzipped or not; what has another name holds a text a line.
        columns: to read; ``translation.en`` is ``en`` inside a column of dictionaries.

    Raises:
        UserError: the file is not what its name says, is damaged, or a table lacks a column; as it is read.
    """
    kind = table_format(path)
    if kind is not None and path.suffix != ".gz":
        check_content(path, kind)
    if kind == "csv":
        return csv_rows(path, columns)
    if kind == "json" and not _is_one_value(path):
        return _jsonl_rows(path, columns)
    if kind == "parquet" and path.suffix != ".gz":
        return _parquet_rows(path, columns)
    if kind is not None:
        return _whole(path, columns)
    if len(columns) != 1:
        raise UserError(f"{path}: this run reads pairs of texts: give a table with {', '.join(columns)}.")
    return (
        line if isinstance(line, RejectedRow) else line.row({columns[0]: line.text.rstrip("\r\n")})
        for line in stream_lines(path)
    )


def _is_one_value(path: Path) -> bool:
    """Say whether a JSON file has to be read whole: it is SQuAD's, a list, or an object over several lines."""
    lines = (line for line in stream_lines(path) if isinstance(line, RejectedRow) or line.text.strip())
    first, second = next(lines, None), next(lines, None)
    if first is None:
        raise UserError(f"{path}: there are no rows.\nExpected one JSON object a line, or a list of objects.")
    start = first.raw.lstrip()
    try:
        json.loads(start)
    except (ValueError, RecursionError):
        is_whole = False
    else:
        is_whole = True
    if start.startswith("["):
        return not (is_whole and second is not None)
    beginning = start if second is None else start + second.raw
    return is_squad(beginning[:PEEK]) or (
        ".jsonl" not in path.name.lower() and start.startswith("{") and not is_whole
    )


def _jsonl_rows(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    for line in stream_lines(path):
        if isinstance(line, RejectedRow):
            yield line
        elif line.text.strip():
            yield _json_row(line, columns)


def _json_row(line: Line, columns: list[str]) -> InputRow | RejectedRow:
    if not is_unicode(line.text):
        return line.rejected("not UTF-8")
    try:
        value = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        return line.rejected(f"not well-formed JSON: {error}"[:200])
    if not isinstance(value, dict):
        return line.rejected("not a JSON object")
    try:
        return line.row({column: _inside(value, column) for column in columns})
    except KeyError as error:
        return line.rejected(f"there is no column {error}. {nearest(error.args[0], value)}")


def _inside(row: dict[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    found: Any = row
    for name in column.split("."):
        if not isinstance(found, dict) or name not in found:
            raise KeyError(column)
        found = found[name]
    return found


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=2**20) as file:
            names = file.schema_arrow.names
            tops = list(
                dict.fromkeys(column if column in names else column.split(".")[0] for column in columns)
            )
            _check_columns(path, tops, names)
            rows, total = 0, max(1, file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=AT_A_TIME, columns=tops):
                for index in range(batch.num_rows):
                    rows += 1
                    yield _table_row(
                        {top: batch.column(top)[index] for top in tops},
                        columns,
                        line=rows,
                        share=rows / total,
                    )
    except (ArrowException, OSError) as error:
        raise UserError(f"{path}: not well-formed PARQUET: {error}") from error


def _whole(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    table = read_table(path)
    if any("." in column for column in columns):
        table = table.flatten()
    _check_columns(path, columns, table.column_names)
    rows = 0
    for batch in table.select_columns(columns).iter(AT_A_TIME):
        for cells in zip(*batch.values(), strict=True):
            rows += 1
            yield _table_row(
                dict(zip(batch, cells, strict=True)), columns, line=rows, share=rows / len(table)
            )


def _table_row(
    cells: dict[str, Any], columns: list[str], *, line: int, share: float
) -> InputRow | RejectedRow:
    """Return a row of a table, whose columns have types: numbers that stand for texts are let through."""
    try:
        row = {
            name: cell.as_py() if isinstance(cell, pyarrow.Scalar) else cell for name, cell in cells.items()
        }
        values = {column: _inside(row, column) for column in columns}
    except UnicodeDecodeError:
        raw = str(
            {
                name: cell.as_buffer().to_pybytes()
                for name, cell in cells.items()
                if hasattr(cell, "as_buffer")
            }
        )
        return RejectedRow(line=line, raw=raw, reason="not UTF-8", share=share)
    except KeyError:  # a dictionary that is missing
        values = dict.fromkeys(columns)
    raw = json.dumps(values, ensure_ascii=False, default=str)
    for column, value in values.items():
        if value is None:
            return RejectedRow(
                line=line, raw=raw, reason=f"there is no text in column {column!r}", share=share
            )
    return InputRow(line=line, raw=raw, values=values, share=share)


def _check_columns(path: Path, columns: Iterable[str], names: list[str]) -> None:
    for column in columns:
        if column not in names:
            raise UserError(f"{path}: there is no column {column!r}. {nearest(column, names)}")
