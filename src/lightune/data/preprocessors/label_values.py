"""The label of each row as a Python value, however its file spells it."""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from datasets import ClassLabel, Dataset, List

from lightune.common.errors import UserError

WHOLE = re.compile(r"([+-]?\d+)\.0*")  # 1.0 is the number 1
NUMPY_GAP = re.compile(r"(?<=['\"])\s+(?=['\"])")  # numpy writes a list so: ['a' 'b']


def read_labels(
    rows: Dataset, columns: str | list[str], *, label_names: Sequence[str] | None, separator: str | None
) -> list[Any]:
    """Return a value for each row: of one label, a list of several, or a mapping of each label to 0 or 1.

    Several columns become such a mapping. A text becomes a list at each ``separator``; without one, a text that
    spells a list or a mapping, in JSON or Python, becomes it.

    Raises:
        UserError: there are more or fewer names than columns.
    """
    if isinstance(columns, list):
        names = columns if label_names is None else [str(name) for name in label_names]
        if len(names) != len(columns):
            raise UserError(
                f"data.label_names has {len(names)} names for the {len(columns)} columns of data.label_column.\n"
                "Expected a name for each column, in their order."
            )
        cells = zip(*(rows[column] for column in columns), strict=True)
        return [dict(zip(names, row, strict=True)) for row in cells]
    values = list(rows[columns])
    if separator is None:
        return [_literal(value) if isinstance(value, str) else value for value in values]
    parts = (value.split(separator) if isinstance(value, str) else value for value in values)
    return [[part.strip() for part in row if part.strip()] if isinstance(row, list) else row for row in parts]


def known_names(rows: Dataset, columns: str | list[str], label_names: Sequence[str] | None) -> list[str] | None:
    """Return the names that a person or a ``ClassLabel`` gives, in the order of their indices; None if nobody does."""
    if label_names is None:
        return getattr(_feature(rows, columns), "names", None)
    return [str(name) for name in label_names]


def replace_indices(
    values: list[Any], rows: Dataset, columns: str | list[str], *, label_names: Sequence[str] | None
) -> list[Any]:
    """Return the values with names for indices. Of names that are numbers, only a ``ClassLabel`` has indices."""
    names = known_names(rows, columns, label_names) or []
    if not isinstance(_feature(rows, columns), ClassLabel) and any(name.isdecimal() for name in names):
        return values
    by_index = {str(index): name for index, name in enumerate(names)}

    def name(value: Any) -> Any:
        return by_index.get(label_name(value), value)

    return [[name(item) for item in value] if isinstance(value, list) else name(value) for value in values]


def is_multi_hot(values: list[Any], rows: Dataset, columns: str | list[str]) -> bool:
    """Say whether lists hold a 0 or 1 for each label: nothing else is there, and it repeats or all are equally long."""
    flags = [[*map(as_flag, value)] for value in values if isinstance(value, list)]
    if not flags or isinstance(_feature(rows, columns), ClassLabel) or any(None in value for value in flags):
        return False
    lengths = {*map(len, flags)}
    return any(len({*value}) < len(value) for value in flags) or (len(lengths) == 1 and lengths != {1})


def as_flag(value: Any) -> bool | None:
    """Return whether a label is there by its 0 or 1, false or true in any spelling; None for anything else."""
    return {"0": False, "1": True, "false": False, "true": True}.get(label_name(value).lower())


def label_name(value: Any) -> str:
    """Return a label as text; a whole number is spelled without a point in every format."""
    text = str(value).strip()
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def is_missing(value: Any) -> bool:
    """Say whether a value is no label: None, NaN, or an empty text, as in CSV."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _feature(rows: Dataset, columns: str | list[str]) -> Any:
    feature = rows.features[columns] if isinstance(columns, str) else None
    return feature.feature if isinstance(feature, List) else feature


def _literal(text: str) -> Any:
    """Return the list or mapping that a text spells, or else the text."""
    if not text.lstrip().startswith(("[", "(", "{")):
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(NUMPY_GAP.sub(", ", text.strip()))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, (list, tuple, set, dict)):
            return value if isinstance(value, dict) else list(value)
    return text
