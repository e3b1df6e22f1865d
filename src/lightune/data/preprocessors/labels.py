"""The labels of a data set, and how each becomes the target of a loss."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lightune.common.errors import UserError, listed, nearest
from lightune.data.preprocessors import label_values
from lightune.data.preprocessors.columns import refuse_missing
from lightune.data.preprocessors.label_values import Columns, as_flag, is_missing, label_name

log = logging.getLogger(__name__)

MAX_NUMBER = 1e18  # as the target of a regression: float32 holds its square
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
NO_LABEL = -1  # the class of a target that only a teacher knows; -100 is no target


def head_of(names: list[str]) -> dict[str, Any]:
    """Return the configuration of a model whose head has these classes."""
    label2id = {name: index for index, name in enumerate(names)}
    return {"num_labels": len(names), "id2label": dict(enumerate(names)), "label2id": label2id}


def balanced_weights(values: Any, head: Mapping[str, Any]) -> list[float | None]:
    """Return a weight for each label of a column of encoded ``labels``, -100 left out; None for one without a row.

    One label of many weighs n / (classes * count), as scikit-learn's ``compute_class_weight`` has it; of several labels
    at once each weighs its negatives / its positives, as torch's ``pos_weight`` expects.
    """
    while hasattr(values.type, "value_type"):
        values = pc.list_flatten(values)
    numbers, classes = np.asarray(values), head["num_labels"]
    if head.get("problem_type") == MULTI:
        counts = numbers.reshape(-1, classes).sum(axis=0)
        tops = len(numbers) / classes - counts
    else:
        counts = np.bincount(numbers[numbers >= 0], minlength=classes)
        tops = np.full(classes, counts.sum() / classes)
    return [float(top / count) if count else None for top, count in zip(tops, counts, strict=True)]


def is_unlabelled(labels: Tensor) -> Tensor:
    """Return which class indices are ``NO_LABEL``, of the same shape; of floats which rows are NaN, (rows,)."""
    return labels.isnan().view(len(labels), -1).any(dim=1) if labels.is_floating_point() else labels == NO_LABEL


@dataclass(frozen=True)
class Labels:
    """The label names in the order of their indices, and transformers' ``problem_type``.

    ``multi_hot``: lists hold a 0 or 1 for each label, not the labels that are there.
    """

    names: list[str]
    problem_type: str
    multi_hot: bool = False

    @property
    def head(self) -> dict[str, Any]:
        """The configuration of a model whose head fits these labels."""
        return {**head_of(self.names), "problem_type": self.problem_type}

    def encode(self, value: Any) -> int | float | list[float]:
        """Return a class index, a number, or 0.0 or 1.0 for each class; ValueError, which shows it, for any other."""
        if self.problem_type == REGRESSION:
            number = float(value)
            if not abs(number) <= MAX_NUMBER:  # NaN fails this, too
                raise ValueError(f"{value!r} is too large or not a number")
            return number
        if self.problem_type == SINGLE:
            return self._index(value)
        if isinstance(value, list) and self.multi_hot:
            if len(value) != len(self.names):
                raise ValueError(f"{value!r:.80} has {len(value)} values for {len(self.names)} labels")
            value = dict(zip(self.names, value, strict=True))
        if isinstance(value, dict):
            flags = {self._index(name): as_flag(flag) for name, flag in value.items()}
            present = {index for index, flag in flags.items() if flag}
            if wrong := [name for index, name in enumerate(self.names) if flags.get(index) is None]:
                raise ValueError(f"{wrong[0]!r} is neither 0 nor 1 in {value!r:.80}")
        elif isinstance(value, list):
            present = {self._index(item) for item in value}
        else:
            raise ValueError(f"{value!r:.80} is not a list like the other labels")
        return [float(index in present) for index in range(len(self.names))]

    def _index(self, value: Any) -> int:
        name = label_name(value)
        if name in self.names:
            return self.names.index(name)
        raise ValueError(f"{value!r} is not one of the labels. {nearest(name, self.names)}")


def infer_labels(
    train: Dataset, column: Columns, *, label_names: Sequence[str] | None, separator: str | None = None
) -> Labels:
    """Find the labels in the label column, or columns, of the training rows by their values, and log how they are read.

    Names keep the order of ``label_names`` or else of a ``ClassLabel`` column. Words are sorted alphabetically, whole
    numbers by size; 1 and 1.0 are the same. Numbers with a fraction, or with one name, are a regression. Lists,
    mappings and columns of 0 and 1 are several labels at once. UserError for only one class, or lists of fractions.
    """
    values = label_values.read_labels(train, column, separator=separator)
    names = label_values.known_names(train, column, label_names)
    present = [value for value in values if not is_missing(value)]
    if separator is not None or any(isinstance(value, (list, dict)) for value in present):
        is_multi_hot = isinstance(column, list) or label_values.is_multi_hot(values, train, column)
        labels = _several(present, names or (column if isinstance(column, list) else None), column, is_multi_hot)
    elif label_names is not None and len(label_names) == 1 and _as_numbers(present):
        return Labels(names=[*map(str, label_names)], problem_type=REGRESSION)
    else:
        labels = _one_or_number(values, names, column)
    if len(labels.names) < 2 and labels.problem_type != REGRESSION:
        raise UserError(
            f"data.label_column={column}: the training rows have {len(labels.names)} label(s): {listed(labels.names)}.\n"
            "Expected at least two: there is nothing to tell apart."
        )
    return labels


def _one_or_number(values: list[Any], names: list[str] | None, column: Columns) -> Labels:
    if names is not None:
        return Labels(names=names, problem_type=SINGLE)
    present = [value for value in values if not is_missing(value)]
    numbers = _as_numbers(present)
    if any(not number.is_integer() for number in numbers):
        _tell(column, "numbers with a fraction are a regression")
        return Labels(names=["value"], problem_type=REGRESSION)
    if not numbers:
        _refuse_mixture(values, column)
    spellings: dict[str, set[str]] = defaultdict(set)
    for value in present:
        spellings[label_name(value)].add(str(value))
    if numbers:
        _tell(column, f"whole numbers are {len(spellings)} classes; for a regression set data.label_names=[value]")
    for name, spelled in spellings.items():
        if len(spelled) > 1:
            _tell(column, f"{listed(map(repr, sorted(spelled)))} are one label, {name!r}")
    return Labels(names=sorted(spellings, key=float if numbers else None), problem_type=SINGLE)


def _several(present: list[Any], names: list[str] | None, column: Columns, multi_hot: bool) -> Labels:
    lists = [value for value in present if isinstance(value, list)]
    keys = dict.fromkeys(label_name(key) for value in present if isinstance(value, dict) for key in value)
    items = [item for value in lists for item in value if not is_missing(item) and not isinstance(item, (list, dict))]
    numbers = _as_numbers(items)
    if any(not number.is_integer() for number in numbers):
        raise UserError(
            f"data.label_column={column}: lists of numbers with a fraction, such as {lists[0]!r:.80}, are no labels.\n"
            "Expected lists of labels, or of a 0 or 1 for each label."
        )
    if names is None:
        positions = map(str, range(len(lists[0]))) if multi_hot else ()
        names = [*keys] or [*positions] or sorted({*map(label_name, items)}, key=float if numbers else None)
    kind = "a 0 or 1 for each label" if keys or multi_hot else "lists"
    _tell(column, f"{kind}, so several labels at once: {listed(names)}")
    return Labels(names=names, problem_type=MULTI, multi_hot=multi_hot)


def encode_labels(
    rows: Dataset,
    column: Columns,
    labels: Labels,
    *,
    label_names: Sequence[str] | None,
    separator: str | None = None,
    split: str,
) -> list[Any]:
    """Return the labels of columns as targets; UserError, which names the rows, for one that is missing or unknown."""
    values = label_values.read_labels(rows, column, separator=separator)
    if not labels.multi_hot and labels.problem_type != REGRESSION:
        values = label_values.replace_indices(values, rows, column, label_names=label_names)
    refuse_missing([is_missing(value) for value in values], "label", str(column), split=split)
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
        elif label_name(value) == "-1":
            fix = f"name a labelled split, such as data.{split}_split=validation"
            reason = f"-1 marks rows without a label; {fix}."
        others = [number + 1 for number, _, _ in errors[1:]]
        raise UserError(
            f"The {split} split, row {index + 1}, column {column!r}: {reason}\n"
            + (f"{len(others):,} more such row(s): row {listed(others, limit=3)}. " if others else "")
            + "Fix or remove these rows, or add the label to the training rows."
        ) from first
    return encoded


def _tell(column: Columns, what: str) -> None:
    rank_zero_only(log.info)(f"data.label_column={column}: {what}")


def _refuse_mixture(values: Sequence[Any], column: Columns) -> None:
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


def _as_numbers(values: Iterable[Any]) -> list[float]:
    """Return the values as numbers, or an empty list if one of them is not a number."""
    try:
        return [float(label_name(value)) for value in values]  # True is a word
    except (TypeError, ValueError):
        return []
