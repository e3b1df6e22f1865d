"""Problems of a data set that make scores too good or training worse: repeated rows, leaked rows, uneven labels."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from datasets import Dataset
from lightning.pytorch.utilities import rank_zero_only

from lightune.common.errors import UserError, listed
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.splits import GROUP

log = logging.getLogger(__name__)

MIN_ROWS_FOR_LABELS = 20  # with fewer rows it says nothing that most have a label of their own
MUCH_CUT = 0.1  # share of the training rows: worth saying what would read more of them
UNEVEN_RATIO = 10  # of the largest class to the smallest: worth a warning


def inputs_of(rows: Dataset, preprocessor: Preprocessor) -> Dataset:
    """Return prepared rows with only the columns that the model reads."""
    declared = getattr(preprocessor, "prepared_inputs", ())
    return rows.select_columns(list(declared) or [name for name in rows.column_names if name not in ("labels", GROUP)])


def hash_inputs(inputs: Dataset) -> np.ndarray:
    """Return a hash of each row: (rows,) int64."""
    rows = (values for batch in inputs.iter(batch_size=1000) for values in zip(*batch.values(), strict=True))
    return np.array([hash(repr(values)) for values in rows], dtype=np.int64)


def find_repeated(hashes: np.ndarray) -> np.ndarray:
    """Return which rows repeat an earlier one: (rows,) bool."""
    is_repeated = np.ones(len(hashes), dtype=bool)
    is_repeated[np.unique(hashes, return_index=True)[1]] = False
    return is_repeated


def drop_duplicates(train: Dataset, preprocessor: Preprocessor, *, path: object) -> Dataset:
    """Return the training rows without those that repeat another, and log how many were dropped."""
    return _drop(find_repeated(hash_inputs(inputs_of(train, preprocessor))), train, reason="duplicates", path=path)


def drop_leaked(rows: dict[str, Dataset], preprocessor: Preprocessor, *, path: object) -> Dataset:
    """Return the training rows that no held-out split has too, log how many were dropped; UserError for none."""
    hashes = {split: hash_inputs(inputs_of(dataset, preprocessor)) for split, dataset in rows.items()}
    is_leaked = np.isin(hashes["train"], np.concatenate([hashes["validation"], hashes["test"]]))
    return _drop(is_leaked, rows["train"], reason="also held out", path=path)


def _drop(mask: np.ndarray, train: Dataset, *, reason: str, path: object) -> Dataset:
    if mask.all():
        raise UserError(f"No training row of {path} is left: all {len(mask)} are {reason}.")
    if mask.any():
        rank_zero_only(log.info)(f"train: {mask.sum():,} row(s) left out: {reason}")
    return train.select(np.flatnonzero(~mask))


def find_problems(
    inputs: dict[str, Dataset], *, strata: dict[str, Sequence[int] | None], names: Sequence[str]
) -> list[str]:
    """Log a warning for each thing that a person should know before they trust a score, and return the warnings.

    For each split, ``inputs`` are those of ``inputs_of``, and ``strata`` the class of each row, if rows have exactly
    one. Where classes have no ``names``, there are none. UserError if all training rows are the same, or of one class.
    """
    warnings = [*_row_warnings(inputs, has_classes=strata["train"] is not None), *_alike_names(names)]
    if strata["train"] is not None and names:
        warnings += _label_warnings({split: np.asarray(classes) for split, classes in strata.items()}, names)
    for warning in warnings:
        rank_zero_only(log.warning)(warning)
    return warnings


def _row_warnings(inputs: dict[str, Dataset], *, has_classes: bool) -> Iterator[str]:
    hashes = {split: hash_inputs(dataset) for split, dataset in inputs.items()}
    sizes = {split: f"{len(dataset):,}" for split, dataset in inputs.items()}
    count = int(find_repeated(hashes["train"]).sum())
    if has_classes and 0 < count == len(inputs["train"]) - 1:
        raise UserError(
            f"All {sizes['train']} training rows are the same or empty: nothing tells their classes apart.\n"
            "Is it the wrong column, or was the file cut off?"
        )
    if count:
        yield f"train: {count:,} of {sizes['train']} rows repeat another; data.drop_duplicates=true leaves them out"
    for split in ("validation", "test"):
        if count := int(np.isin(hashes[split], hashes["train"]).sum()):
            fix = "data.drop_leaked=true takes them out of train"
            yield f"{split}: {count:,} of {sizes[split]} rows are also in train, so scores come out too good; {fix}"


def _alike_names(names: Sequence[str]) -> Iterator[str]:
    alike: dict[object, list[str]] = defaultdict(list)
    for name in names:
        try:
            alike[float(name)].append(name)
        except ValueError:
            alike["".join(name.casefold().split())].append(name)
    if groups := [" and ".join(map(repr, group)) for group in alike.values() if len(group) > 1]:
        yield f"labels differ only in case, spaces or the spelling of a number: {listed(groups, limit=3)}"


def _label_warnings(classes: dict[str, np.ndarray], names: Sequence[str]) -> Iterator[str]:
    counts = np.bincount(classes["train"], minlength=len(names))
    if (counts > 0).sum() < 2:
        raise UserError(
            f"Every training row has the label {names[int(counts.argmax())]!r}, of {len(names)}.\n"
            "Expected at least two: there is nothing to tell apart. Was the file cut off, or is it the wrong split?"
        )
    if counts.min() * UNEVEN_RATIO <= counts.max():
        order = np.argsort(-counts)
        sizes = [f"{names[i]} {counts[i]:,}" for i in order]
        largest = ", ".join(sizes[: min(2, len(names) - 1)])
        fix = "look at f1, not at accuracy: monitor.metric=val/f1 monitor.mode=max data.sampling=balanced"
        yield f"train: classes are uneven: {largest} … {sizes[-1]}; {fix}"
    for split in ("validation", "test"):
        unseen = classes[split][counts[classes[split]] == 0]
        if len(unseen):
            labels = listed(names[i] for i in np.unique(unseen))
            count = f"{len(unseen):,} of {len(classes[split]):,}"
            yield f"{split}: {count} rows have a label that no training row has: {labels}"
    num_rows = len(classes["train"])
    if MIN_ROWS_FOR_LABELS < num_rows < 2 * len(names):
        yield f"train: {len(names):,} labels for {num_rows:,} rows: is data.label_column the right column?"


def find_not_read(rows: dict[str, Dataset], preprocessor: Preprocessor) -> list[str]:
    """Log and return how much of each tokenized split is cut off or not learned; nothing where all is read.

    Where many training rows are cut, what would read more of them is named.
    """
    cut, left_out = (
        {split: sum(dataset[column][:]) for split, dataset in rows.items() if column in dataset.column_names}
        for column in ("truncated", "left_out")
    )
    lines = []
    if any(cut.values()):
        sizes = {split: len(rows[split]) for split, count in cut.items() if count}
        shares = [f"{split} {cut[split]:,} of {size:,} ({cut[split] / size:.0%})" for split, size in sizes.items()]
        limit, ways = getattr(preprocessor, "max_length", 0), getattr(preprocessor, "ways_to_read_more", ())
        is_worth_it = ways and cut.get("train", 0) > MUCH_CUT * len(rows["train"])
        advice = f"; to read more of them, the cheapest first: {', '.join(ways)}" if is_worth_it else ""
        lines.append(f"texts of more than data.max_length={limit} tokens are cut: {', '.join(shares)}{advice}")
    if any(left_out.values()):
        counts = ", ".join(f"{split} {count:,}" for split, count in left_out.items() if count)
        reason = "the chat template writes them in another way once more turns follow"
        lines.append(f"replies that are not learned, as {reason}: {counts}")
    for line in lines:
        rank_zero_only(log.info)(line)
    return lines
