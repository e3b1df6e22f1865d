"""What the labels of a data set are, and how each becomes what a loss takes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import ClassLabel, Dataset, List

from lightune.common.errors import UserError, listed, nearest

LARGEST = 1e18  # of a regression: float32 holds its square
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


@dataclass(frozen=True)
class Labels:
    """The label names in the order of their indices, and transformers' ``problem_type``."""

    names: list[str]
    problem_type: str

    @property
    def head(self) -> dict[str, Any]:
        """What a pretrained model's configuration must say for its head to fit these labels."""
        return {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
            "problem_type": self.problem_type,
        }

    def encode(self, value: Any) -> int | float | list[float]:
        """Return a class index, a number, or one 0.0 or 1.0 a class.

        Raises:
            ValueError: ``value`` is missing or is none of the labels; the message says what it is.
        """
        if self.problem_type == REGRESSION:
            number = float(value)
            if not abs(number) <= LARGEST:  # not a number is not either
                raise ValueError(f"{value!r} is too large or not a number")
            return number
        if self.problem_type == MULTI:
            present = {self._index(item) for item in value}
            return [float(index in present) for index in range(len(self.names))]
        return self._index(value)

    def _index(self, value: Any) -> int:
        name = _name(value)
        if name in self.names:
            return self.names.index(name)
        raise ValueError(f"{value!r} is not one of the labels. {nearest(name, self.names)}")


def infer(train: Dataset, column: str, *, label_names: Sequence[str] | None) -> Labels:
    """Find the labels in the training rows.

    Class names of a ``ClassLabel`` column are kept in their order. Words are sorted by the alphabet, whole
    numbers by size. Numbers with a fraction are a regression. Lists are several labels at once.

    Args:
        train: the training split.
        column: its label column.
        label_names: the names in their order, where the data does not say them.

    Raises:
        UserError: there is only one class, or a row has no label.
    """
    feature = train.features[column]
    several = isinstance(feature, List)
    inner = feature.feature if several else feature
    values = decoded(train, column, label_names=label_names)
    problem_type = MULTI if several else SINGLE
    if label_names is not None:
        names = [str(name) for name in label_names]
    elif isinstance(inner, ClassLabel):
        names = list(inner.names)
    else:
        flat = [item for value in values for item in (value or [])] if several else values
        flat = [value for value in flat if not is_missing(value)]
        numbers = _as_numbers(flat)
        if numbers and not several and any(not number.is_integer() for number in numbers):
            return Labels(names=["value"], problem_type=REGRESSION)
        if not several and str(getattr(inner, "dtype", "")).startswith("float"):
            return Labels(names=["value"], problem_type=REGRESSION)
        if not several and not numbers:
            _refuse_mixture(values, column)
        unique = {_name(value) for value in flat}
        names = sorted(unique, key=float) if numbers else sorted(unique)
    if len(names) < 2:
        raise UserError(
            f"data.label_column={column}: the training rows have {len(names)} label(s): {listed(names)}.\n"
            "Expected at least two: there is nothing to tell apart."
        )
    return Labels(names=names, problem_type=problem_type)


def decoded(dataset: Dataset, column: str, *, label_names: Sequence[str] | None) -> list[Any]:
    """Return a column's labels as names where indices have names: those of ``ClassLabel`` or ``label_names``."""
    feature = dataset.features[column]
    several = isinstance(feature, List)
    inner = feature.feature if several else feature
    names: list[str] | None = (
        [str(name) for name in label_names] if label_names is not None else getattr(inner, "names", None)
    )
    values = list(dataset[column])
    if names is None:
        return values
    if label_names is not None and not several and _are_indices(values, names):  # of CSV files, as text
        values = [value if is_missing(value) else int(value) for value in values]
    elif not str(getattr(inner, "dtype", "")).startswith(("int", "uint")):
        return values

    def name(index: int | None) -> Any:
        return names[index] if index is not None and 0 <= index < len(names) else index

    return [[name(item) for item in value] if several else name(value) for value in values]


def is_missing(value: Any) -> bool:
    """Say whether there is no label: nothing, or an empty text, as CSV has it."""
    return value is None or (isinstance(value, str) and not value.strip())


def _are_indices(values: Sequence[Any], names: Sequence[str]) -> bool:
    texts = {value.strip() for value in values if isinstance(value, str)} - {""}
    return bool(texts) and all(text.isdecimal() and text.isascii() for text in texts) and not texts & {*names}


def _refuse_mixture(values: Sequence[Any], column: str) -> None:
    """Refuse numbers with a fraction among which stands a word: a regression with a slip, hardly classes."""
    present = [(index, value) for index, value in enumerate(values) if not is_missing(value)]
    words = [(index, value) for index, value in present if not _as_numbers([value])]
    fractions = {number for _, value in present for number in _as_numbers([value]) if not number.is_integer()}
    if fractions and 10 * len(words) <= len(present):
        index, value = words[0]
        raise UserError(
            f"The train split, row {index + 1}, column {column!r}: {value!r} is not a number, as the other labels are "
            f"({len(words)} such row(s)).\n"
            f"Mend or remove these rows; or, if all are classes, name them: data.label_names=[{value},…]"
        )


def _name(value: Any) -> str:
    return value.strip() if isinstance(value, str) else str(value)


def _as_numbers(values: Iterable[Any]) -> list[float]:
    """Return the values as numbers, or nothing if one of them is not a number."""
    try:
        return [float(_name(value)) for value in values]  # True is a word
    except (TypeError, ValueError):
        return []
