"""What every preprocessor checks first: the columns that the configuration names are there, and filled."""

import logging
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Value
from lightning.pytorch.utilities import rank_zero_only

from lightune.common.errors import UserError, listed, nearest

log = logging.getLogger(__name__)


def check_columns(rows: Dataset, columns: Mapping[str, str | list[str]], *, split: str) -> None:
    """Look for columns by the option that names each.

    Args:
        rows: of a split.
        columns: ``{"label_column": "label", "text_columns": ["premise", "hypothesis"]}``.
        split: for the message.

    Raises:
        UserError: a column is not there; names the nearest.
    """
    for option, named in columns.items():
        for column in [named] if isinstance(named, str) else named:
            if column not in rows.column_names:
                shown = column if isinstance(named, str) else f"[{column}]"
                raise UserError(
                    f"data.{option}={shown}: the {split} split has no column {column!r}. "
                    f"{nearest(column, rows.column_names)}"
                )


def check_texts(rows: Dataset, columns: list[str], *, split: str) -> None:
    """Look for columns of something else than text, and for missing values.

    Raises:
        UserError: a column holds numbers or lists, or a row has no text.
    """
    for column in columns:
        kind = getattr(rows.features[column], "dtype", "lists")
        if kind not in ("string", "large_string"):
            raise UserError(f"The {split} split has {kind} in column {column!r}.\nExpected texts there.")
    check_filled(rows, columns, split=split)


def check_filled(rows: Dataset, columns: list[str], *, split: str) -> None:
    """Look for missing values; count texts that are empty.

    Raises:
        UserError: a row has none in one of the columns.
    """
    for column in columns:
        stored = rows.data.column(column)  # may hold rows that were left out
        if stored.null_count:
            refuse_missing([value is None for value in rows[column]], "text", column, split=split)
        if not (pa.types.is_string(stored.type) or pa.types.is_large_string(stored.type)):
            continue
        if split == "predict":  # of a chunk of the rows to predict for: numbers in it say nothing
            continue
        if not pc.any(pc.equal(pc.utf8_trim_whitespace(stored), "")).as_py():
            continue
        empty = [index + 1 for index, text in enumerate(rows[column]) if not text.strip()]
        if empty:
            rank_zero_only(log.warning)(
                f"{split}: {len(empty):,} of {len(rows):,} rows have an empty text in column {column!r}: "
                f"row {listed(empty, limit=3)}"
            )


def check_scalars(rows: Dataset, columns: list[str], *, split: str) -> None:
    """Look for lists and the like where texts, or numbers as texts, are wanted.

    Raises:
        UserError: names the first such row.
    """
    for column in columns:
        if isinstance(rows.features[column], (Value, ClassLabel)) and rows.features[column].dtype != "json":
            continue
        for index, value in enumerate(rows[column]):
            if not isinstance(value, (str, int, float)):
                raise UserError(
                    f"The {split} split, row {index + 1}, column {column!r}: {value!r:.80} is not a text."
                    "\nExpected one text a row."
                )


def refuse_missing(missing: Sequence[bool], what: str, column: str, *, split: str) -> None:
    """Refuse rows that lack something.

    Args:
        missing: whether each row does.
        what: it is, ``text`` or ``label``.
        column: where it was looked for.
        split: of the rows.

    Raises:
        UserError: says how many and which.
    """
    found = [index + 1 for index, is_missing in enumerate(missing) if is_missing]
    if found:
        raise UserError(
            f"The {split} split has no {what} in column {column!r} of {len(found):,} row(s): row {listed(found, limit=3)}.\n"
            f"Fill or remove these rows{', or name a labelled split' if what == 'label' else ''}."
        )
