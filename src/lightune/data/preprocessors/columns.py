"""Checks that every preprocessor makes first: the columns that the configuration names exist, and are filled."""

import logging
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Value
from lightning.pytorch.utilities import rank_zero_only

from lightune.common.errors import UserError, listed, nearest

log = logging.getLogger(__name__)


def check_columns(rows: Dataset, columns: Mapping[str, str | list[str]], *, split: str) -> None:
    """Raise a UserError if an option, such as ``{"text_columns": ["premise", "hypothesis"]}``, names no column."""
    for option, names in columns.items():
        for column in [names] if isinstance(names, str) else names:
            if column not in rows.column_names:
                value = column if isinstance(names, str) else f"[{column}]"
                raise UserError(
                    f"data.{option}={value}: the {split} split has no column {column!r}. "
                    f"{nearest(column, rows.column_names)}"
                )


def check_texts(rows: Dataset, columns: list[str], *, split: str) -> None:
    """Raise a UserError if a column holds numbers or lists, or a row has no text."""
    check_text_columns(rows, columns, split=split)
    check_filled(rows, columns, split=split)


def check_text_columns(rows: Dataset, columns: list[str], *, split: str) -> None:
    """Raise a UserError if a column holds numbers or lists."""
    for column in columns:
        kind = getattr(rows.features[column], "dtype", "lists")
        if kind not in ("string", "large_string"):
            raise UserError(f"The {split} split has {kind} in column {column!r}.\nExpected texts.")


def join_lists(rows: Dataset, column: str, *, split: str) -> Dataset:
    """Join the lists of texts in columns, such as sentences, to one text a row, and log it."""
    if getattr(getattr(rows.features[column], "feature", None), "dtype", None) != "string":
        return rows
    if split != "predict":  # its rows come in chunks
        rank_zero_only(log.info)(f"{split}: the texts of each list in column {column!r} are joined by spaces")
    texts = [None if row is None else " ".join(filter(None, row)) for row in rows[column][:]]
    new = f"{column} joined"
    return rows.add_column(new, texts, feature=Value("string")).remove_columns(column).rename_column(new, column)


def check_filled(rows: Dataset, columns: list[str], *, split: str) -> None:
    """Raise a UserError if a row has no value in one of the columns, and warn about empty texts."""
    for column in columns:
        stored = rows.data.column(column)  # may include rows that were left out
        if stored.null_count:
            refuse_missing([value is None for value in rows[column][:]], "text", column, split=split)
        is_text = pa.types.is_string(stored.type) or pa.types.is_large_string(stored.type)
        # rows to predict for come in chunks: a row number in a chunk says nothing
        if split != "predict" and is_text and pc.any(pc.equal(pc.utf8_trim_whitespace(stored), "")).as_py():
            empty = [index + 1 for index, text in enumerate(rows[column][:]) if not text.strip()]
            warn_of_rows(empty, len(rows), f"rows have an empty text in column {column!r}", split=split)


def warn_of_rows(numbers: Sequence[int], total: int, what: str, *, split: str) -> None:
    """Warn of rows of a split, if there are any: how many they are, and the first of them."""
    if numbers:
        shown = listed(numbers, limit=3)
        rank_zero_only(log.warning)(f"{split}: {len(numbers):,} of {total:,} {what}: row {shown}")


def check_scalars(rows: Dataset, columns: list[str], *, split: str) -> None:
    """Raise a UserError for the first row that has neither a text nor a number in a column, but a list or the like."""
    for column in columns:
        if isinstance(rows.features[column], (Value, ClassLabel)) and rows.features[column].dtype != "json":
            continue
        for index, value in enumerate(rows[column][:]):
            if not isinstance(value, (str, int, float)):
                raise UserError(
                    f"The {split} split, row {index + 1}, column {column!r}: {value!r:.80} is not a text."
                    "\nExpected one text a row."
                )


def refuse_missing(is_missing: Sequence[bool], kind: str, column: str, *, split: str) -> None:
    """Raise a UserError that says how many rows of a column lack their value, a ``text`` or ``label``, and which."""
    if rows := [index + 1 for index, missing in enumerate(is_missing) if missing]:
        fix = "Fill or remove these rows" + (", or name a labelled split" if kind == "label" else "")
        raise UserError(
            f"The {split} split has no {kind} in column {column!r} of {len(rows):,} row(s): row {listed(rows, limit=3)}.\n{fix}."
        )
