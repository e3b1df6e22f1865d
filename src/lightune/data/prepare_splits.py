"""The splits of a data set: picked by name, checked, carved from train where the data has none, or made of folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from lightune.common.errors import UserError, about, listed
from lightune.data import quality
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.columns import check_columns, refuse_missing
from lightune.data.preprocessors.labels import NO_LABEL
from lightune.data.sources.read import read
from lightune.data.splits import GROUP, divide, sample, sample_per_class


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Which rows are in which split, by options of the DataModule; UserError if two clash. ``path`` is for messages."""

    path: object
    names: Mapping[str, str | None]
    fractions: Mapping[str, float]
    seed: int
    num_folds: int | None
    fold: int
    group_column: str | None
    drop_duplicates: bool
    drop_leaked: bool
    max_rows: Mapping[str, int | None]
    max_rows_per_class: int | None

    def __post_init__(self) -> None:
        if self.fold >= (self.num_folds or 1):
            asked = f"data.fold={self.fold} data.num_folds={'null' if self.num_folds is None else self.num_folds}"
            raise UserError(f"{asked}: expected a fold from 0 to {(self.num_folds or 1) - 1}.")
        size, per_class = self.max_rows["train"], self.max_rows_per_class
        if size is not None and per_class is not None:
            both = f"data.max_train_samples={size} and data.max_train_samples_per_class={per_class}"
            raise UserError(f"{both}: each chooses rows.\nLeave one of them out.")

    def prepare(self, raw: dict[str, Dataset], preprocessor: Preprocessor) -> dict[str, Dataset]:
        """Pick the splits that the data has by their names in it, fit the preprocessor to train, and prepare all rows.

        Raises:
            UserError: the train split is missing, a split is empty, or a row is not what the task needs.
        """
        if self.names["train"] not in raw:
            raise UserError(
                f"data.train_split={self.names['train']}: the data has the splits {listed(raw)}.\n"
                f"Name one of them: data.train_split={next(iter(raw))}"
            )
        present = {split: raw[name] for split, name in self.names.items() if name in raw}
        for split, rows in present.items():
            if len(rows) == 0:
                raise UserError(f"The {split} split of {self.path} has no rows.\nExpected at least one.")
        with about(self._source("train")):
            preprocessor.fit(present["train"])
        prepared = {}
        for split, rows in present.items():
            with about(self._source(split)):
                prepared[split] = preprocessor.prepare(rows, split=split)
        return prepared

    def make(self, raw: dict[str, Dataset], preprocessor: Preprocessor) -> tuple[dict[str, Dataset], list[str]]:
        """Return the prepared rows of train, validation and test, and warnings about them before subsets are chosen.

        With folds, validation is one of them, and train the others: an own validation split is divided together with
        train. The test is the same with and without folds.

        Raises:
            UserError: as ``prepare``, there are too few rows or groups, or the training rows are all alike or left out.
        """
        rows = self.prepare(raw, preprocessor)
        if self.group_column is not None:
            for split in {"train", "validation"} & {*rows} if self.num_folds is not None else ["train"]:
                groups = _read_groups(raw[str(self.names[split])], self.group_column, split=split)
                if len(groups) != len(rows[split]):
                    counts = f"{len(groups):,} rows, of which {len(rows[split]):,} examples are made"
                    raise UserError(
                        f"data.group_column={self.group_column}: the {split} split has {counts}: whose is which is lost.\n"
                        "Take the rows that are left out, or are several answers to one source, out of the data."
                    )
                rows[split] = rows[split].add_column(GROUP, groups)
        for split in ("test", "validation"):
            folds = self.num_folds if split == "validation" else None
            if folds is not None and split in rows:
                rows["train"] = concatenate_datasets([rows["train"], rows.pop(split).cast(rows["train"].features)])
            if self.drop_duplicates and (split == "test" or folds is not None):
                rows["train"] = quality.drop_duplicates(rows["train"], preprocessor, path=self.path)
            if split not in rows:
                is_held_out = self._hold_out(split, rows["train"], folds, preprocessor)
                rows[split] = rows["train"].select(np.flatnonzero(is_held_out))
                rows["train"] = rows["train"].select(np.flatnonzero(~is_held_out))
        grouped = [split for split, dataset in rows.items() if GROUP in dataset.column_names]
        rows |= {split: rows[split].remove_columns(GROUP) for split in grouped}
        if self.drop_leaked:
            rows["train"] = quality.drop_leaked(rows, preprocessor, path=self.path)
        strata = {split: preprocessor.strata(dataset) for split, dataset in rows.items()}
        with about(self._source("train")):
            inputs = {split: quality.inputs_of(dataset, preprocessor) for split, dataset in rows.items()}
            labels = [*preprocessor.head.get("id2label", {}).values()]
            warnings = quality.find_problems(inputs, strata=strata, names=labels)
        return {split: self._subset(split, dataset, strata[split]) for split, dataset in rows.items()}, warnings

    def _source(self, split: str) -> object:
        return self.path.get(split) if isinstance(self.path, Mapping) else self.path

    def _hold_out(self, split: str, train: Dataset, folds: int | None, preprocessor: Preprocessor) -> np.ndarray:
        """Return which training rows become a split, of the same length, bool."""
        fraction, groups = self.fractions[split], None if self.group_column is None else list(train[GROUP])
        number, what = (len(train), "row(s)") if groups is None else (len({*groups}), "value(s) of data.group_column")
        if folds is not None and number < folds:
            raise UserError(
                f"data.num_folds={folds}: beside the test there are {number} {what}.\n"
                "Expected at least one for each fold. Lower data.num_folds."
            )
        if folds is None and (number < 2 or not 0 < fraction < 1):
            raise UserError(
                f"Cannot carve a {split} split from {number} training {what}: data.{split}_fraction={fraction}.\n"
                f"Expected a share between 0 and 1, or a file of its own: data.path.{split}=FILE"
            )
        shares, held_out = ([1 - fraction, fraction], 1) if folds is None else ([1 / folds] * folds, self.fold)
        parts = divide(len(train), shares, strata=preprocessor.strata(train), groups=groups, seed=self.seed)
        is_held_out: np.ndarray = parts == held_out
        return is_held_out

    def _subset(self, split: str, rows: Dataset, strata: Sequence[int] | None) -> Dataset:
        if (size := self.max_rows[split]) is not None:
            return rows.select(sample(len(rows), size, strata=strata, seed=self.seed))
        if split != "train" or (size := self.max_rows_per_class) is None:
            return rows
        if strata is None:
            fix = "rows do not have one label of several.\nTo train on fewer: data.max_train_samples=N"
            raise UserError(f"data.max_train_samples_per_class={size}: {fix}")
        return rows.select(sample_per_class(strata, size, seed=self.seed))


def _read_groups(rows: Dataset, column: str, *, split: str) -> list[str]:
    check_columns(rows, {"group_column": column}, split=split)
    values = rows[column][:]
    refuse_missing([value is None for value in values], "group", column, split=split)
    return [str(value) for value in values]


def balanced_classes(train: Dataset, preprocessor: Preprocessor, max_tokens: int | None) -> np.ndarray:
    """Return the class of each tokenized training row, for ``data.sampling=balanced``, or raise a UserError."""
    classes = preprocessor.strata(train)
    if classes is None or NO_LABEL in classes or max_tokens is not None:
        raise UserError(
            "data.sampling=balanced: expected one label of several in every training row, and batches of data.batch_size\n"
            f"rows (data.max_tokens_per_batch={max_tokens}). Leave it out: task.class_weights=balanced needs neither."
        )
    return np.asarray(classes)


def read_unlabelled(path: str, preprocessor: Any, *, delimiter: str | None) -> Dataset:
    """Return the prepared rows of a file without labels, or of a data set's training split."""
    with about(f"data.unlabeled_path={path}"):
        rows = read(path, delimiter=delimiter).get("train", ())
        if len(rows) == 0:
            raise UserError("there are no training rows.\nExpected a file, or a folder whose split train has rows.")
        prepared: Dataset = preprocessor.prepare_unlabelled(rows)
        return prepared
