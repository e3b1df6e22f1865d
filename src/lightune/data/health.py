"""Problems of a data set that make scores too good or training worse: repeated rows, leaked rows, uneven labels."""

import logging
from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from lightning.pytorch.utilities import rank_zero_only

from lightune.common.errors import UserError, listed

log = logging.getLogger(__name__)

TARGET_COLUMNS = {"labels", "tags", "answers", "answer_starts"}
MIN_ROWS_FOR_LABELS = 20  # with fewer rows it says nothing that most have a label of their own
UNEVEN_RATIO = 10  # of the largest class to the smallest: worth a warning


def hash_inputs(rows: Dataset) -> np.ndarray:
    """Return a hash of each row without its targets: (rows,) int64."""
    columns = [name for name in rows.column_names if name not in TARGET_COLUMNS]
    hashes: list[int] = []
    for batch in rows.select_columns(columns).iter(batch_size=1000):
        hashes += [hash(repr(values)) for values in zip(*(batch[name] for name in columns), strict=True)]
    return np.array(hashes, dtype=np.int64)


def find_repeated(hashes: np.ndarray) -> np.ndarray:
    """Return which rows repeat an earlier one: (rows,) bool."""
    is_repeated = np.ones(len(hashes), dtype=bool)
    is_repeated[np.unique(hashes, return_index=True)[1]] = False
    return is_repeated


def drop_duplicates(train: Dataset, *, path: object) -> Dataset:
    """Return the training rows without those that repeat another, and log how many were dropped."""
    return _drop(find_repeated(hash_inputs(train)), train, reason="duplicates", path=path)


def drop_leaked(rows: dict[str, Dataset], *, path: object) -> Dataset:
    """Return the training rows that no held-out split has too, and log how many were dropped.

    Raises:
        UserError: no row is left.
    """
    held_out = np.concatenate([hash_inputs(rows[split]) for split in ("validation", "test")])
    is_leaked = np.isin(hash_inputs(rows["train"]), held_out)
    return _drop(is_leaked, rows["train"], reason="also held out", path=path)


def _drop(mask: np.ndarray, train: Dataset, *, reason: str, path: object) -> Dataset:
    if mask.all():
        raise UserError(f"No training row of {path} is left: all {len(mask)} are {reason}.")
    if mask.any():
        rank_zero_only(log.info)(f"train: {mask.sum():,} row(s) left out: {reason}")
    return train.select(np.flatnonzero(~mask))


def find_problems(
    rows: dict[str, Dataset], *, strata: dict[str, Sequence[int] | None], names: Sequence[str]
) -> list[str]:
    """Log a warning for each thing that a person should know before they trust a score, and return the warnings.

    Args:
        rows: of each split, as the preprocessor prepared them.
        strata: of each split, the class of each row if each has exactly one.
        names: of the classes.

    Raises:
        UserError: all training rows are the same, or of one class.
    """
    has_classes = strata["train"] is not None
    warnings = _row_warnings(rows, has_classes=has_classes)
    if has_classes:
        classes = {split: np.asarray(indices) for split, indices in strata.items()}
        warnings += _label_warnings(classes, names)
    for warning in warnings:
        rank_zero_only(log.warning)(warning)
    return warnings


def _row_warnings(rows: dict[str, Dataset], *, has_classes: bool) -> list[str]:
    hashes = {split: hash_inputs(dataset) for split, dataset in rows.items()}
    train = hashes["train"]
    count = int(find_repeated(train).sum())
    if has_classes and 0 < count == len(train) - 1:
        raise UserError(
            f"All {len(train):,} training rows are the same or empty: nothing tells their classes apart.\n"
            "Is it the wrong column, or was the file cut off?"
        )
    warnings = []
    if count:
        warnings.append(
            f"train: {count:,} of {len(train):,} rows repeat another; data.drop_duplicates=true leaves them out"
        )
    for split in ("validation", "test"):
        count = int(np.isin(hashes[split], train).sum())
        if count:
            warnings.append(
                f"{split}: {count:,} of {len(hashes[split]):,} rows are also in train, so scores come out too good; "
                "data.drop_leaked=true takes them out of train"
            )
    return warnings


def _label_warnings(classes: dict[str, np.ndarray], names: Sequence[str]) -> list[str]:
    num_rows = len(classes["train"])
    counts = np.bincount(classes["train"], minlength=len(names))
    if (counts > 0).sum() < 2:
        raise UserError(
            f"Every training row has the label {names[int(counts.argmax())]!r}, of {len(names)}.\n"
            "Expected at least two: there is nothing to tell apart. Was the file cut off, or is it the wrong split?"
        )
    warnings = []
    if counts.min() * UNEVEN_RATIO <= counts.max():
        order = np.argsort(-counts)
        largest = ", ".join(f"{names[i]} {counts[i]:,}" for i in order[: min(2, len(names) - 1)])
        smallest = f"{names[order[-1]]} {counts[order[-1]]:,}"
        warnings.append(f"train: classes are uneven: {largest} … {smallest}; look at f1, not at accuracy")
    for split in ("validation", "test"):
        unseen = classes[split][counts[classes[split]] == 0]
        if len(unseen):
            warnings.append(
                f"{split}: {len(unseen):,} of {len(classes[split]):,} rows have a label that no training row has: "
                f"{listed(names[i] for i in np.unique(unseen))}"
            )
    if MIN_ROWS_FOR_LABELS < num_rows < 2 * len(names):
        warnings.append(
            f"train: {len(names):,} labels for {num_rows:,} rows: is data.label_column the right column?"
        )
    return warnings


def find_truncation(rows: dict[str, Dataset], *, max_length: int) -> list[str]:
    """Log how many texts of each split are longer than the model reads, and return that line, if there are any.

    Args:
        rows: of each split, tokenized; with ``truncated`` if the task truncates texts.
        max_length: in tokens.
    """
    shares = []
    for split, dataset in rows.items():
        count = int(np.count_nonzero(dataset["truncated"])) if "truncated" in dataset.column_names else 0
        if count:
            shares.append(f"{split} {count:,} of {len(dataset):,} ({count / len(dataset):.0%})")
    if not shares:
        return []
    line = f"texts of more than data.max_length={max_length} tokens are cut: {', '.join(shares)}"
    rank_zero_only(log.info)(line)
    return [line]
