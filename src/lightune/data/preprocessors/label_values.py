"""The label of each row as a Python value, however its file spells it."""

import ast
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from datasets import ClassLabel, Dataset, List

WHOLE = re.compile(r"([+-]?\d+)\.0*")  # 1.0 is the number 1
NUMPY_GAP = re.compile(r"(?<=['\"])\s+(?=['\"])")  # numpy writes a list so: ['a' 'b']
FLAGS = {"0": False, "1": True, "false": False, "true": True}

Columns = str | list[str]


def read_labels(rows: Dataset, columns: Columns, *, separator: str | None) -> list[Any]:
    """Return the value of each row; with several columns, the list of their values.

    A text is split at ``separator``; without one, a text that spells a list or mapping, in JSON or Python, becomes it.
    """
    if isinstance(columns, list):
        return [list(cells) for cells in zip(*(rows[column][:] for column in columns), strict=True)]
    return [_parsed(value, separator) if isinstance(value, str) else value for value in rows[columns][:]]


def known_names(rows: Dataset, columns: Columns, label_names: Sequence[str] | None) -> list[str] | None:
    """Return the names that a person or a ``ClassLabel`` gives, in the order of their indices; None if nobody does."""
    return getattr(_feature(rows, columns), "names", None) if label_names is None else [*map(str, label_names)]


def replace_indices(
    values: list[Any], rows: Dataset, columns: Columns, *, label_names: Sequence[str] | None
) -> list[Any]:
    """Return the values with names for indices. Of names that are numbers, only a ``ClassLabel`` has indices."""
    names = known_names(rows, columns, label_names) or []
    if not isinstance(_feature(rows, columns), ClassLabel) and any(name.isdecimal() for name in names):
        return values
    by_index = {str(index): name for index, name in enumerate(names)}
    as_lists = [value if isinstance(value, list) else [value] for value in values]
    named = [[by_index.get(label_name(item), item) for item in items] for items in as_lists]
    return [new if isinstance(old, list) else new[0] for old, new in zip(values, named, strict=True)]


def is_multi_hot(values: list[Any], rows: Dataset, columns: Columns) -> bool:
    """Return whether lists hold a 0 or 1 for each label: nothing else, and one repeats or all are equally long."""
    flags = [[*map(as_flag, value)] for value in values if isinstance(value, list)]
    if isinstance(_feature(rows, columns), ClassLabel) or any(None in value for value in flags):
        return False
    lengths = {*map(len, flags)}
    return any(len({*value}) < len(value) for value in flags) or (len(lengths) == 1 and max(lengths) > 1)


def as_flag(value: Any) -> bool | None:
    """Return the truth of a 0 or 1, or of false or true in any case; None for anything else."""
    return FLAGS.get(label_name(value).lower())


def label_name(value: Any) -> str:
    """Return a label as text; a whole number is spelled without a point in every format."""
    text = str(value).strip()
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def is_missing(value: Any) -> bool:
    """Say whether a value is no label: None, NaN, or an empty text, as in CSV."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _feature(rows: Dataset, columns: Columns) -> Any:
    feature = rows.features[columns] if isinstance(columns, str) else None
    return feature.feature if isinstance(feature, List) else feature


def _parsed(text: str, separator: str | None) -> Any:
    if separator is not None:
        return [part.strip() for part in text.split(separator) if part.strip()]
    for read in (json.loads, ast.literal_eval) if text.lstrip()[:1] in ("[", "(", "{") else ():
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = read(NUMPY_GAP.sub(", ", text.strip()))
            if isinstance(value, (list, tuple, set, dict)):
                return value if isinstance(value, dict) else [*value]
    return text
