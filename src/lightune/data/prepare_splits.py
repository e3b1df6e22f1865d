"""The splits of a data set: picked by name, checked, carved from train where the data has none, or made of folds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from lightune.common.errors import UserError, about, listed
from lightune.data import quality, splits
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.columns import check_columns, refuse_missing
from lightune.data.sources.read import read


def check_fold(fold: int, num_folds: int | None) -> None:
    """Raise a UserError for a fold that there is not."""
    if fold >= (num_folds or 1):
        asked = f"data.fold={fold} data.num_folds={'null' if num_folds is None else num_folds}"
        raise UserError(f"{asked}: expected a fold from 0 to {(num_folds or 1) - 1}.")


def split_rows(
    raw: dict[str, Dataset],
    preprocessor: Preprocessor,
    *,
    names: Mapping[str, str | None],
    fractions: Mapping[str, float],
    seed: int,
    num_folds: int | None,
    fold: int,
    group_column: str | None,
    drop_duplicates: bool,
    path: object,
) -> dict[str, Dataset]:
    """Pick the splits that the data has by their ``names`` in it, prepare all rows, and hold out what is missing.

    With folds, validation is one of them, and train the others: an own validation split is divided together with
    train. The test is the same with and without folds. The other arguments are those of the DataModule.

    Raises:
        UserError: the train split is missing, a split is empty, a row is not what the task needs, or there are too few
            rows or groups.
    """
    rows = prepare_splits(raw, preprocessor, names=names, path=path)
    if group_column is not None:
        for split in {"train", "validation"} & {*rows} if num_folds is not None else ["train"]:
            of_split = raw[str(names[split])]
            check_columns(of_split, {"group_column": group_column}, split=split)
            values = list(of_split[group_column])
            refuse_missing([value is None for value in values], "group", group_column, split=split)
            rows[split] = rows[split].add_column(splits.GROUP, [str(value) for value in values])
    for split in ("test", "validation"):
        folds = num_folds if split == "validation" else None
        if folds is not None and split in rows:
            rows["train"] = concatenate_datasets([rows["train"], rows.pop(split).cast(rows["train"].features)])
        if drop_duplicates and (split == "test" or folds is not None):
            rows["train"] = quality.drop_duplicates(rows["train"], preprocessor, path=path)
        if split not in rows:
            train, fraction = rows["train"], fractions[split]
            groups = None if group_column is None else list(train[splits.GROUP])
            _check_size(len(train), split, fraction=fraction, num_folds=folds, groups=groups)
            shares, held_out = ([1 - fraction, fraction], 1) if folds is None else ([1 / folds] * folds, fold)
            parts = splits.divide(len(train), shares, strata=preprocessor.strata(train), groups=groups, seed=seed)
            chosen = parts == held_out
            rows["train"], rows[split] = (train.select(np.flatnonzero(which)) for which in (~chosen, chosen))
    is_grouped = [split for split, dataset in rows.items() if splits.GROUP in dataset.column_names]
    return rows | {split: rows[split].remove_columns(splits.GROUP) for split in is_grouped}


def prepare_splits(
    raw: dict[str, Dataset], preprocessor: Preprocessor, *, names: Mapping[str, str | None], path: object
) -> dict[str, Dataset]:
    """Pick the splits that the data has by their names in it, fit the preprocessor to train, and prepare all rows.

    Raises:
        UserError: the train split is missing, a split is empty, or a row is not what the task needs.
    """
    if names["train"] not in raw:
        raise UserError(
            f"data.train_split={names['train']}: the data has the splits {listed(raw)}.\n"
            f"Name one of them: data.train_split={next(iter(raw))}"
        )
    present = {split: raw[name] for split, name in names.items() if name in raw}
    for split, rows in present.items():
        if len(rows) == 0:
            raise UserError(f"The {split} split of {path} has no rows.\nExpected at least one.")
    with about(source_of(path, "train")):
        preprocessor.fit(present["train"])
    prepared = {}
    for split, rows in present.items():
        with about(source_of(path, split)):
            prepared[split] = preprocessor.prepare(rows, split=split)
    return prepared


def read_unlabelled(path: str, preprocessor: Any, *, delimiter: str | None) -> Dataset:
    """Return the prepared rows of a file without labels, or of a data set's training split."""
    with about(f"data.unlabeled_path={path}"):
        rows = read(path, delimiter=delimiter).get("train", ())
        if len(rows) == 0:
            raise UserError("there are no training rows.\nExpected a file, or a folder whose split train has rows.")
        prepared: Dataset = preprocessor.prepare_unlabelled(rows)
        return prepared


def source_of(path: object, split: str) -> object:
    """Return the path that a split was read from."""
    return path.get(split) if isinstance(path, Mapping) else path


def _check_size(
    n_rows: int, split: str, *, fraction: float, num_folds: int | None, groups: Sequence[str] | None
) -> None:
    """Raise a UserError for too few rows or groups, or no fraction."""
    number, what = (n_rows, "row(s)") if groups is None else (len(set(groups)), "value(s) of data.group_column")
    if num_folds is not None and number < num_folds:
        raise UserError(
            f"data.num_folds={num_folds}: beside the test there are {number} {what}.\n"
            "Expected at least one for each fold. Lower data.num_folds."
        )
    if num_folds is None and (number < 2 or not 0 < fraction < 1):
        raise UserError(
            f"Cannot carve a {split} split from {number} training {what}: data.{split}_fraction={fraction}.\n"
            f"Expected a share between 0 and 1, or a file of its own: data.path.{split}=FILE"
        )


def select_per_class(train: Dataset, size: int, *, strata: Sequence[int] | None, seed: int) -> Dataset:
    """Return ``size`` rows of each class, or all of a class with fewer; UserError where a row has not exactly one."""
    if strata is None:
        fix = "rows do not have one label of several.\nTo train on fewer: data.max_train_samples=N"
        raise UserError(f"data.max_train_samples_per_class={size}: {fix}")
    return train.select(splits.sample_per_class(strata, size, seed=seed))
