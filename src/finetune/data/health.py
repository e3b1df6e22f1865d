"""What of a data set makes figures too good or training worse: repeated rows, rows shared by splits, uneven labels."""

import logging
from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from lightning.pytorch.utilities import rank_zero_only

from finetune.errors import UserError

log = logging.getLogger(__name__)

ANSWERS = {"labels", "tags", "answers", "answer_starts"}
UNEVEN = 10  # times as many rows in the largest class as in the smallest: worth a line


def fingerprints(rows: Dataset) -> np.ndarray:
    """Return a 64-bit hash of each row's inputs, whatever its label: (rows,) int64."""
    columns = [name for name in rows.column_names if name not in ANSWERS]
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


def tell(rows: dict[str, Dataset], *, strata: Sequence[int] | None, names: Sequence[str]) -> None:
    """Log a line for each thing that a person should know before they believe a figure.

    Args:
        rows: each split, as it goes to the tokenizer.
        strata: the class of each training row where it has exactly one.
        names: of the classes.

    Raises:
        UserError: all training rows are of one class.
    """
    hashed = {split: fingerprints(one) for split, one in rows.items()}
    count = int(repeated(hashed["train"]).sum())
    if count:
        rank_zero_only(log.warning)(
            f"train: {count:,} of {len(hashed['train']):,} rows repeat another; data.drop_duplicates=true leaves them out"
        )
    for split in ("validation", "test"):
        count = int(np.isin(hashed[split], hashed["train"]).sum())
        if count:
            rank_zero_only(log.warning)(
                f"{split}: {count:,} of {len(hashed[split]):,} rows are also in train, so figures come out too good; "
                "data.drop_leaked=true takes them out of train"
            )
    if strata is not None:
        counts = np.bincount(strata, minlength=len(names))
        if (counts > 0).sum() < 2:
            raise UserError(
                f"Every training row has the label {names[int(counts.argmax())]!r}, of {len(names)}.\n"
                "Expected at least two: there is nothing to tell apart. Was the file cut, or the wrong split named?"
            )
        if counts.min() * UNEVEN <= counts.max():
            order = np.argsort(-counts)
            most = ", ".join(f"{names[i]} {counts[i]:,}" for i in order[:2])
            rank_zero_only(log.warning)(
                f"train: classes are uneven: {most} … {names[order[-1]]} {counts[order[-1]]:,}; look at f1, not at accuracy"
            )
