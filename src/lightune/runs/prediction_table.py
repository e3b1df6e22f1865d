"""A file with a JSON object a line becomes a table: CSV, TSV or Parquet."""

import csv
import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow.parquet import ParquetWriter

from lightune.common.errors import UserError
from lightune.common.files import atomic_file

TABLES = {".csv": "excel", ".tsv": "excel-tab", ".parquet": None}
"""Endings, and their dialects of ``csv``, which quote as RFC 4180 says."""

CHUNK_ROWS = 1024
_as_json = partial(json.dumps, ensure_ascii=False)


def write_table(lines: Path, path: Path) -> None:
    """Write the objects of a file of lines as rows of a table; its ending is one of ``TABLES``.

    CSV has a column for each part of a dictionary, such as ``probabilities.positive``, if all rows have the same parts;
    other lists and dictionaries are JSON. Parquet keeps them, and has JSON where the types of a column differ.

    Raises:
        UserError: the disk is full, or Parquet has no type for a value. Nothing is written.
    """
    dialect = TABLES[path.suffix.lower()]
    try:
        with atomic_file(path, "w" if dialect else "wb", sync=True) as file:
            _write_csv(lines, csv.writer(file, dialect=dialect)) if dialect else _write_parquet(lines, file)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"Cannot write {path}: {error}.\nIts rows are in {lines}, as JSON.") from error


def _write_csv(lines: Path, writer: Any) -> None:
    parts: dict[str, tuple[str, ...] | None] = {}
    for row in _rows(lines):
        for name, value in row.items():
            found = tuple(value) if isinstance(value, dict) else () if value is not None else parts.get(name)
            parts[name] = found if parts.get(name) in (None, found) else ()
    columns: dict[str, tuple[str, str | None]] = {}
    for name, found in parts.items():
        split = {f"{name}.{part}": (name, part) for part in found or ()}
        columns |= split if split and not split.keys() & parts.keys() else {name: (name, None)}
    writer.writerow(columns)
    for row in _rows(lines):
        cells = (row.get(name) if part is None else (row.get(name) or {}).get(part) for name, part in columns.values())
        writer.writerow([_as_json(cell) if isinstance(cell, dict | list) else cell for cell in cells])


def _write_parquet(lines: Path, file: Any) -> None:
    types: dict[str, Any] = {}
    for rows in _chunks(lines):
        for name in dict.fromkeys(name for row in rows for name in row):
            try:
                found = pyarrow.array([row.get(name) for row in rows]).type
                both = [pyarrow.schema({name: kind}) for kind in (types.get(name, pyarrow.null()), found)]
                types[name] = pyarrow.unify_schemas(both, promote_options="permissive").field(name).type
            except (pyarrow.ArrowException, OverflowError):
                types[name] = pyarrow.string()
    texts = [name for name, kind in types.items() if kind == pyarrow.string()]
    with ParquetWriter(file, pyarrow.schema(types)) as writer:
        for rows in _chunks(lines):
            for row in rows:
                row |= {name: _as_json(row[name]) for name in texts if not isinstance(row.get(name), str | None)}
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=writer.schema))


def _rows(lines: Path) -> Iterator[dict[str, Any]]:
    with lines.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def _chunks(lines: Path) -> Iterator[list[dict[str, Any]]]:
    rows = _rows(lines)
    return iter(lambda: [*islice(rows, CHUNK_ROWS)], [])
