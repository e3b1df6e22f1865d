"""The labels of a data set, and how each becomes the target of a loss."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, List

from lightune.common.errors import UserError, listed, nearest
from lightune.data.preprocessors.columns import refuse_missing

MAX_NUMBER = 1e18  # as the target of a regression: float32 holds its square
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def head_of(names: list[str]) -> dict[str, Any]:
    """Return the configuration of a model whose head has these classes."""
    label2id = {name: index for index, name in enumerate(names)}
    return {"num_labels": len(names), "id2label": dict(enumerate(names)), "label2id": label2id}


@dataclass(frozen=True)
class Labels:
    """The label names in the order of their indices, and transformers' ``problem_type``."""

    names: list[str]
    problem_type: str

    @property
    def head(self) -> dict[str, Any]:
        """The configuration of a model whose head fits these labels."""
        return {**head_of(self.names), "problem_type": self.problem_type}

    def encode(self, value: Any) -> int | float | list[float]:
        """Return a class index, a number, or 0.0 or 1.0 for each class.

        Raises:
            ValueError: ``value`` is missing, or not one of the labels; the message shows it.
        """
        if self.problem_type == REGRESSION:
            number = float(value)
            if not abs(number) <= MAX_NUMBER:  # NaN fails this, too
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


def infer_labels(train: Dataset, column: str, *, label_names: Sequence[str] | None) -> Labels:
    """Find the labels in the label column of the training rows.

    Names keep the order of ``label_names`` or else of a ``ClassLabel`` column. Words are sorted alphabetically, whole
    numbers by size. Numbers with a fraction are a regression. Lists are several labels at once.

    Raises:
        UserError: there is only one class, or a row has no label.
    """
    is_multi, dtype, names = _describe(train, column, label_names)
    values = decode_labels(train, column, label_names=label_names)
    if names is None:
        flat = [item for value in values for item in (value or [])] if is_multi else values
        flat = [value for value in flat if not is_missing(value)]
        numbers = _as_numbers(flat)
        if not is_multi:
            if dtype.startswith("float") or any(not number.is_integer() for number in numbers):
                return Labels(names=["value"], problem_type=REGRESSION)
            if not numbers:
                _refuse_mixture(values, column)
        unique = {_name(value) for value in flat}
        names = sorted(unique, key=float) if numbers else sorted(unique)
    if len(names) < 2:
        raise UserError(
            f"data.label_column={column}: the training rows have {len(names)} label(s): {listed(names)}.\n"
            "Expected at least two: there is nothing to tell apart."
        )
    return Labels(names=names, problem_type=MULTI if is_multi else SINGLE)


def decode_labels(dataset: Dataset, column: str, *, label_names: Sequence[str] | None) -> list[Any]:
    """Return a column's labels, with names for indices that have one in ``ClassLabel`` or ``label_names``."""
    is_multi, dtype, names = _describe(dataset, column, label_names)
    values = list(dataset[column])
    if names is None:
        return values
    # a CSV file has indices as texts
    if label_names is not None and not is_multi and _are_indices(values, names):
        values = [value if is_missing(value) else int(value) for value in values]
    elif not dtype.startswith(("int", "uint")):
        return values

    def name(index: int | None) -> Any:
        return names[index] if index is not None and 0 <= index < len(names) else index

    return [[name(item) for item in value] if is_multi else name(value) for value in values]


def _describe(dataset: Dataset, column: str, label_names: Sequence[str] | None) -> tuple[bool, str, list[str] | None]:
    """Return whether a column holds lists of labels, the type of a label, and the names of all labels if known."""
    feature: Any = dataset.features[column]
    is_multi = isinstance(feature, List)
    feature = feature.feature if is_multi else feature
    names = getattr(feature, "names", None) if label_names is None else [str(name) for name in label_names]
    return is_multi, str(getattr(feature, "dtype", "")), names


def encode_labels(
    rows: Dataset, column: str, labels: Labels, *, label_names: Sequence[str] | None, split: str
) -> list[Any]:
    """Return a column's labels as targets.

    Raises:
        UserError: a row has no label, or an unknown one; names the rows.
    """
    values = decode_labels(rows, column, label_names=label_names)
    refuse_missing([is_missing(value) for value in values], "label", column, split=split)
    encoded: list[Any] = []
    errors: list[tuple[int, Any, Exception]] = []
    for index, value in enumerate(values):
        try:
            encoded.append(labels.encode(value))
        except (TypeError, ValueError) as error:
            errors.append((index, value, error))
    if errors:
        index, value, first = errors[0]
        reason = str(first)
        if labels.problem_type == REGRESSION:
            reason = f"{value!r} is not a number up to {MAX_NUMBER:.0e} like the other labels."
        elif value == -1:
            fix = f"name a labelled split, such as data.{split}_split=validation"
            reason = f"-1 marks rows without a label; {fix}."
        others = [number + 1 for number, _, _ in errors[1:]]
        raise UserError(
            f"The {split} split, row {index + 1}, column {column!r}: {reason}\n"
            + (f"{len(others):,} more such row(s): row {listed(others, limit=3)}. " if others else "")
            + "Fix or remove these rows, or add the label to the training rows."
        ) from first
    return encoded


def is_missing(value: Any) -> bool:
    """Say whether a value is no label: None, or an empty text, as in CSV."""
    return value is None or (isinstance(value, str) and not value.strip())


def _are_indices(values: Sequence[Any], names: Sequence[str]) -> bool:
    texts = {value.strip() for value in values if isinstance(value, str)} - {""}
    return bool(texts) and all(text.isdecimal() and text.isascii() for text in texts) and not texts & {*names}


def _refuse_mixture(values: Sequence[Any], column: str) -> None:
    """Refuse a few words among numbers with fractions: a regression with mistakes rather than classes."""
    present = [(index, value) for index, value in enumerate(values) if not is_missing(value)]
    words = [(index, value) for index, value in present if not _as_numbers([value])]
    fractions = {number for _, value in present for number in _as_numbers([value]) if not number.is_integer()}
    if fractions and 10 * len(words) <= len(present):
        index, value = words[0]
        raise UserError(
            f"The train split, row {index + 1}, column {column!r}: {value!r} is not a number like the other labels "
            f"({len(words)} such row(s)).\n"
            f"Fix or remove these rows; or, if all are classes, name them: data.label_names=[{value},…]"
        )


def _name(value: Any) -> str:
    return value.strip() if isinstance(value, str) else str(value)


def _as_numbers(values: Iterable[Any]) -> list[float]:
    """Return the values as numbers, or an empty list if one of them is not a number."""
    try:
        return [float(_name(value)) for value in values]  # True is a word
    except (TypeError, ValueError):
        return []
