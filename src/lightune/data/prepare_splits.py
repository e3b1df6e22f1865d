"""The splits of a data set: picked by name, checked, and carved from train where the data has none."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

from lightune.common.errors import UserError, about, listed
from lightune.data import splits
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.sources.read import read


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


def carve_split(
    train: Dataset, split: str, *, fraction: float, strata: Sequence[int] | None, seed: int
) -> tuple[Dataset, Dataset]:
    """Divide rows into those kept and a fraction held out, stratified; raise a UserError for too few or no fraction."""
    if not 0 < fraction < 1 or len(train) < 2:
        raise UserError(
            f"Cannot carve a {split} split from {len(train)} training row(s): data.{split}_fraction={fraction}.\n"
            f"Expected a share between 0 and 1, or a file of its own: data.path.{split}=FILE"
        )
    kept, held_out = splits.carve(len(train), fraction, strata=strata, seed=seed)
    return train.select(kept), train.select(held_out)


def select_per_class(train: Dataset, size: int, *, strata: Sequence[int] | None, seed: int) -> Dataset:
    """Return ``size`` rows of each class, or all of a class with fewer; UserError where a row has not exactly one."""
    if strata is None:
        fix = "rows do not have one label of several.\nTo train on fewer: data.max_train_samples=N"
        raise UserError(f"data.max_train_samples_per_class={size}: {fix}")
    return train.select(splits.sample_per_class(strata, size, seed=seed))
