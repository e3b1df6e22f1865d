"""Files of any format and any length, read row by row."""

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet
from pyarrow.lib import ArrowException

from lightune.common.errors import UserError
from lightune.data.sources.csv_files import stream_csv
from lightune.data.sources.file_format import check_content
from lightune.data.sources.json_files import PEEK_CHARACTERS, json_row, look_up, stream_jsonl
from lightune.data.sources.pandas_json import may_be_pandas
from lightune.data.sources.read import read_table, table_format
from lightune.data.sources.squad_json import is_squad
from lightune.data.sources.stream import InputRow, RejectedRow, require_columns, stream_lines

BATCH_ROWS = 1024  # of a table, read together


def stream_rows(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    """Read rows, and of each these columns, in the order of the file: by line, CSV record or batch of Parquet.

    SQuAD's files, CoNLL files and JSON that is one list are read as a whole.

    Args:
        path: CSV, TSV, JSON, JSONL, Parquet, CoNLL or SQuAD's, gzipped or not; any other file has a text a line.
        columns: to read; ``translation.en`` is ``en`` inside a column of dictionaries.

    Raises:
        UserError: the file does not hold what its name says, is damaged, or a table lacks a column; raised
            while it is read.
    """
    kind = table_format(path)
    if kind is not None:
        check_content(path, kind)
    if kind == "csv":
        return stream_csv(path, columns)
    if kind == "json" and not _is_one_value(path):
        return stream_jsonl(path, columns)
    if kind == "parquet" and path.suffix != ".gz":
        return _stream_parquet(path, columns)
    if kind is not None:
        return _stream_table(path, columns)
    if len(columns) != 1:
        raise UserError(f"{path}: this run reads pairs of texts: give a table with {', '.join(columns)}.")
    return (
        line if isinstance(line, RejectedRow) else line.row({columns[0]: line.text.rstrip("\r\n")})
        for line in stream_lines(path)
    )


def stream_standard_input(file: io.BufferedReader, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    """Read a text a line; or a JSON object a line, where there are several columns or the first line is one of them."""
    is_json = len(columns) > 1
    for line in stream_lines(Path("standard input"), file=file):
        if isinstance(line, RejectedRow):
            yield line
            continue
        is_json = is_json or (line.number == 1 and isinstance(json_row(line, columns), InputRow))
        if not is_json:
            yield line.row({columns[0]: line.text.rstrip("\r\n")})
        elif line.text.strip():
            yield json_row(line, columns)


def _is_one_value(path: Path) -> bool:
    """Say whether a JSON file must be read as a whole: SQuAD's, a list, or an object over several lines."""
    lines = (line for line in stream_lines(path) if isinstance(line, RejectedRow) or line.text.strip())
    first, more = next(lines, None), [*islice(lines, 3)]
    if first is None:
        raise UserError(f"{path}: there are no rows.\nExpected one JSON object a line, or a list of objects.")
    start, is_complete = first.raw.lstrip(), False
    with suppress(ValueError, RecursionError):
        json.loads(start)
        is_complete = True
    if start.startswith("["):
        return not is_complete or not more
    beginning = (start + "".join(line.raw for line in more))[:PEEK_CHARACTERS]
    return (
        is_squad(beginning)
        or may_be_pandas(beginning)
        or (".jsonl" not in path.name.lower() and start.startswith("{") and not is_complete)
    )


def _stream_parquet(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=2**20) as file:
            names = file.schema_arrow.names
            require_columns(path, [column if column in names else column.split(".")[0] for column in columns], names)
            cells = (
                {name: batch.column(name)[index] for name in names}
                for batch in file.iter_batches(batch_size=BATCH_ROWS)
                for index in range(batch.num_rows)
            )
            yield from _rows(cells, columns, total=file.metadata.num_rows)
    except (ArrowException, OSError) as error:
        raise UserError(f"{path}: not well-formed PARQUET: {error}") from error


def _stream_table(path: Path, columns: list[str]) -> Iterator[InputRow | RejectedRow]:
    table = read_table(path)
    require_columns(path, columns, [*table.column_names, *table.flatten().column_names])
    batches = table.iter(BATCH_ROWS)
    cells = (dict(zip(batch, values, strict=True)) for batch in batches for values in zip(*batch.values(), strict=True))
    yield from _rows(cells, columns, total=len(table))


def _rows(table: Iterable[dict[str, Any]], columns: list[str], *, total: int) -> Iterator[InputRow | RejectedRow]:
    """Yield the rows of a table. Its columns have types, so numbers may stand for texts."""
    for line, cells in enumerate(table, start=1):
        share, row = line / max(1, total), dict[str, Any]()
        try:
            row = {name: cell.as_py() if isinstance(cell, pyarrow.Scalar) else cell for name, cell in cells.items()}
            values = {column: look_up(row, column) for column in columns}
        except UnicodeDecodeError:
            buffers = {name: cell.as_buffer() for name, cell in cells.items() if hasattr(cell, "as_buffer")}
            raw = str({name: buffer.to_pybytes() for name, buffer in buffers.items()})
            yield RejectedRow(line=line, raw=raw, reason="not UTF-8", share=share)
            continue
        except KeyError:  # a dictionary is missing
            values = dict.fromkeys(columns)
        raw = json.dumps(row, ensure_ascii=False, default=str)
        missing = next((column for column, value in values.items() if value is None), None)
        if missing is None:
            yield InputRow(line=line, raw=raw, values=values, columns=row, share=share)
        else:
            reason = f"there is no text in column {missing!r}"
            yield RejectedRow(line=line, raw=raw, reason=reason, share=share)
