"""What of a data set makes figures too good or training worse: repeated rows, rows shared by splits, uneven labels."""

import logging
from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from lightning.pytorch.utilities import rank_zero_only

from lightune.common.errors import UserError, listed

log = logging.getLogger(__name__)

TARGET_COLUMNS = {"labels", "tags", "answers", "answer_starts"}
MANY = 20  # rows, from which on it says something that most have a label of their own
UNEVEN = 10  # times as many rows in the largest class as in the smallest: worth a line


def fingerprints(rows: Dataset) -> np.ndarray:
    """Return a 64-bit hash of each row's inputs, whatever its label: (rows,) int64."""
    columns = [name for name in rows.column_names if name not in TARGET_COLUMNS]
    found = np.empty(len(rows), dtype=np.int64)
    start = 0
    for batch in rows.select_columns(columns).iter(batch_size=1000):
        values = zip(*(batch[name] for name in columns), strict=True)
        hashes = [hash(repr(value)) for value in values]
        found[start : start + len(hashes)] = hashes
        start += len(hashes)
    return found


def repeated(train: np.ndarray) -> np.ndarray:
    """Return which rows repeat an earlier one: (rows,) of bool."""
    mask = np.ones(len(train), dtype=bool)
    mask[np.unique(train, return_index=True)[1]] = False
    return mask


def without(mask: np.ndarray, train: Dataset, *, why: str, path: object) -> Dataset:
    """Return the training rows where a mask (rows,) is False, and log how many the others are.

    Raises:
        UserError: no row is left.
    """
    if mask.all():
        raise UserError(f"No training row of {path} is left: all {len(mask)} are {why}.")
    if mask.any():
        rank_zero_only(log.info)(f"train: {mask.sum():,} row(s) left out: {why}")
    return train.select(np.flatnonzero(~mask))


def find_problems(
    rows: dict[str, Dataset], *, strata: dict[str, Sequence[int] | None], names: Sequence[str]
) -> list[str]:
    """Log a line for each thing that a person should know before they believe a figure, and return them.

    Args:
        rows: each split, as it goes to the tokenizer.
        strata: of each split, the class of each row where it has exactly one.
        names: of the classes.

    Raises:
        UserError: all training rows are of one class, or hold the same.
    """
    told: list[str] = []
    hashed = {split: fingerprints(one) for split, one in rows.items()}
    count = int(repeated(hashed["train"]).sum())
    if strata["train"] is not None and 0 < count == len(hashed["train"]) - 1:
        raise UserError(
            f"All {len(hashed['train']):,} training rows hold the same, or nothing: there is nothing to tell their classes by.\n"
            "Was the wrong column named, or the file cut?"
        )
    if count:
        told.append(
            f"train: {count:,} of {len(hashed['train']):,} rows repeat another; data.drop_duplicates=true leaves them out"
        )
    for split in ("validation", "test"):
        count = int(np.isin(hashed[split], hashed["train"]).sum())
        if count:
            told.append(
                f"{split}: {count:,} of {len(hashed[split]):,} rows are also in train, so figures come out too good; "
                "data.drop_leaked=true takes them out of train"
            )
    if strata["train"] is not None:
        counts = np.bincount(strata["train"], minlength=len(names))
        if (counts > 0).sum() < 2:
            raise UserError(
                f"Every training row has the label {names[int(counts.argmax())]!r}, of {len(names)}.\n"
                "Expected at least two: there is nothing to tell apart. Was the file cut, or the wrong split named?"
            )
        if counts.min() * UNEVEN <= counts.max():
            order = np.argsort(-counts)
            most = ", ".join(f"{names[i]} {counts[i]:,}" for i in order[: min(2, len(names) - 1)])
            told.append(
                f"train: classes are uneven: {most} … {names[order[-1]]} {counts[order[-1]]:,}; look at f1, not at accuracy"
            )
        for split in ("validation", "test"):
            classes = np.asarray(strata[split])
            unseen = classes[counts[classes] == 0]
            if len(unseen):
                told.append(
                    f"{split}: {len(unseen):,} of {len(classes):,} rows have a label that no training row has: "
                    f"{listed(names[i] for i in np.unique(unseen))}"
                )
        if MANY < len(strata["train"]) < 2 * len(names):
            told.append(
                f"train: {len(names):,} labels for {len(strata['train']):,} rows: is data.label_column the right column?"
            )
    for line in told:
        rank_zero_only(log.warning)(line)
    return told


def truncation_warnings(rows: dict[str, Dataset], *, max_length: int) -> list[str]:
    """Log a line with how many texts of each split were longer than the model was to read, and return it, if any.

    Args:
        rows: each split, tokenized, with ``cut`` where its task cuts texts.
        max_length: tokens.
    """
    told = []
    for split, one in rows.items():
        count = int(np.count_nonzero(one["cut"])) if "cut" in one.column_names else 0
        if count:
            told.append(f"{split} {count:,} of {len(one):,} ({count / len(one):.0%})")
    if not told:
        return []
    line = f"texts of more than data.max_length={max_length} tokens are cut: {', '.join(told)}"
    rank_zero_only(log.info)(line)
    return [line]
