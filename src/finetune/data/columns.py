"""What every preprocessor checks first: the columns that the configuration names are there, and filled."""

from collections.abc import Mapping

from datasets import Dataset

from finetune.errors import UserError, nearest


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
    """Look for missing values.

    Raises:
        UserError: a row has none in one of the columns.
    """
    for column in columns:
        if rows.data.column(column).null_count == 0:
            continue
        missing = [index for index, value in enumerate(rows[column]) if value is None]
        if missing:
            raise UserError(
                f"The {split} split has no text in column {column!r} of {len(missing)} row(s), "
                f"the first is row {missing[0] + 1}.\nFill or remove these rows."
            )
