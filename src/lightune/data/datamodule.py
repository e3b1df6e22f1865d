"""The one LightningDataModule: load, split, tokenize, batch. What a row is, the preprocessor knows."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from lightune.common.bounds import Count, Seed, Whole
from lightune.common.errors import UserError, about, listed
from lightune.data import health, splits
from lightune.data.batches.frozen_states import FrozenStates, WithFrozenStates, collate
from lightune.data.batches.padding import round_up
from lightune.data.batches.sampler import (
    Batch,
    HeldOutRows,
    LengthGroupedBatches,
    SeededRows,
    collate_held_out,
    held_out_batches,
)
from lightune.data.batches.workers import worker_settings
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.sources.read import read
from lightune.data.tokens import tokenize


class DataModule(LightningDataModule):
    """Train, validation and test rows as padded batches of tokens.

    A split that the data set lacks is carved from its training rows, stratified by label; validation
    never holds a test row. The carving has a seed of its own, so runs with different ``seed`` are
    measured on the same rows.

    Args:
        preprocessor: of the task.
        path: see :func:`lightune.data.sources.read.read`, as are ``name``, ``revision``, ``delimiter``.
        class_folders: see :func:`lightune.data.sources.read.read`.
        train_split: the data set's own name for its training split.
        validation_split: likewise; None, or a name that the data set lacks, carves it from train.
        test_split: likewise.
        validation_fraction: share of the training rows carved for validation.
        test_fraction: share of the training rows carved for test.
        split_seed: chooses the carved rows and the subsets.
        drop_duplicates: train on one of several rows with the same inputs; they are counted either way.
        drop_leaked: take out of train what validation or test hold too; it is counted either way.
        max_train_samples: train on a stratified subset of this size.
        max_eval_samples: cut validation and test to a stratified subset of this size, each.
        batch_size: rows a step on each device.
        max_tokens_per_batch: tokens a step on each device, padding counted, in place of ``batch_size``.
        num_workers: processes that collate batches; 0 does it in the main process.
        seed: chooses the order of the training rows.
    """

    def __init__(
        self,
        *,
        preprocessor: Preprocessor,
        path: str | Mapping[str, str | None],
        name: str | None,
        revision: str | None,
        delimiter: str | None,
        class_folders: list[str] | None,
        train_split: str,
        validation_split: str | None,
        test_split: str | None,
        validation_fraction: float,
        test_fraction: float,
        split_seed: Seed,
        drop_duplicates: bool,
        drop_leaked: bool,
        max_train_samples: Count | None,
        max_eval_samples: Count | None,
        batch_size: Count,
        max_tokens_per_batch: Count | None,
        num_workers: Whole,
        seed: Seed,
    ) -> None:
        super().__init__()
        self.preprocessor = preprocessor
        self.path = path
        self.name = name
        self.revision = revision
        self.delimiter = delimiter
        self.class_folders = class_folders
        self.split_names = {"train": train_split, "validation": validation_split, "test": test_split}
        self.fractions = {"validation": validation_fraction, "test": test_fraction}
        self.split_seed = split_seed
        self.drop_duplicates = drop_duplicates
        self.drop_leaked = drop_leaked
        self.max_samples = {
            "train": max_train_samples,
            "validation": max_eval_samples,
            "test": max_eval_samples,
        }
        self.batch_size = batch_size
        self.max_tokens_per_batch = max_tokens_per_batch
        self.num_workers = num_workers
        self.seed = seed
        self.rows: dict[str, Dataset] = {}  # of each split, as the preprocessor's prepare returns them
        self.datasets: dict[str, Dataset] = {}  # the same, tokenized
        self.restricted: dict[str, list[Batch]] = {}  # of splits that are not gone through whole
        self.warnings: list[str] = []  # what a person should know of the data
        self.frozen_states: dict[str, FrozenStates] = {}  # of splits whose frozen layers have run already

    @property
    def head(self) -> dict[str, Any]:
        """What the data says of the model's head; known after :meth:`setup`."""
        return self.preprocessor.head

    def setup(self, stage: str | None = None) -> None:
        """Read, split and tokenize, once; Lightning calls this again for each stage.

        Raises:
            UserError: the data is not as its configuration says.
        """
        if self.datasets:
            return
        raw = read(
            self.path,
            name=self.name,
            revision=self.revision,
            delimiter=self.delimiter,
            class_folders=self.class_folders,
        )
        prepared = self._prepare(raw)
        if self.drop_duplicates:
            duplicates = health.repeated(health.fingerprints(prepared["train"]))
            prepared["train"] = health.without(
                duplicates, prepared["train"], why="duplicates", path=self.path
            )
        for split in ("test", "validation"):
            if split not in prepared:
                prepared["train"], prepared[split] = self._carve(
                    prepared["train"], self.fractions[split], split
                )
        if self.drop_leaked:
            held_out = [health.fingerprints(prepared[split]) for split in ("validation", "test")]
            leaked = np.isin(health.fingerprints(prepared["train"]), np.concatenate(held_out))
            prepared["train"] = health.without(leaked, prepared["train"], why="held out too", path=self.path)
        strata_of = {split: self.preprocessor.strata(rows) for split, rows in prepared.items()}
        with about(self._source("train")):
            self.warnings = health.find_problems(
                prepared, strata=strata_of, names=list(self.head.get("id2label", {}).values())
            )
        for split, rows in prepared.items():
            if (size := self.max_samples[split]) is not None:
                strata = self.preprocessor.strata(rows)
                rows = rows.select(splits.sample(len(rows), size, strata=strata, seed=self.split_seed))
            self.rows[split] = rows
            self.datasets[split] = tokenize(
                rows, self.preprocessor, training=split == "train", desc=f"Tokenizing {split}"
            )
            if len(self.datasets[split]) == 0:
                raise UserError(f"No row of the {split} split of {self.path} holds anything to learn.")
        self.warnings += health.truncation_warnings(
            self.datasets, max_length=getattr(self.preprocessor, "max_length", 0)
        )

    def _prepare(self, raw: dict[str, Dataset]) -> dict[str, Dataset]:
        """Pick the splits that the data set has, checked."""
        if self.split_names["train"] not in raw:
            raise UserError(
                f"data.train_split={self.split_names['train']}: the data has the splits {listed(raw)}.\n"
                f"Name one of them: data.train_split={next(iter(raw))}"
            )
        present = {split: raw[name] for split, name in self.split_names.items() if name in raw}
        for split, rows in present.items():
            if len(rows) == 0:
                raise UserError(f"The {split} split of {self.path} has no rows.\nExpected at least one.")
        with about(self._source("train")):
            self.preprocessor.fit(present["train"])
        prepared = {}
        for split, rows in present.items():
            with about(self._source(split)):
                prepared[split] = self.preprocessor.prepare(rows, split=split)
        return prepared

    def _source(self, split: str) -> object:
        return self.path.get(split) if isinstance(self.path, Mapping) else self.path

    def _carve(self, train: Dataset, fraction: float, split: str) -> tuple[Dataset, Dataset]:
        if not 0 < fraction < 1 or len(train) < 2:
            raise UserError(
                f"Cannot carve a {split} split from {len(train)} training row(s): data.{split}_fraction={fraction}.\n"
                f"Expected a share between 0 and 1, or a file of its own: data.path.{split}=FILE"
            )
        kept, held_out = splits.carve(
            len(train), fraction, strata=self.preprocessor.strata(train), seed=self.split_seed
        )
        return train.select(kept), train.select(held_out)

    def batches_per_epoch(self, *, world_size: int) -> int:
        """Count the training batches that each of ``world_size`` devices sees in an epoch."""
        return len(self.train_batches(rank=0, world_size=world_size))

    def train_batches(
        self, *, rank: int, world_size: int, epoch: int = 0, start: int = 0
    ) -> LengthGroupedBatches:
        """Return the training rows of an epoch as one device gets them, in batches."""
        return LengthGroupedBatches(
            lengths=self._lengths_to_batch("train"),
            batch_size=self.batch_size,
            max_tokens=self.max_tokens_per_batch,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            epoch=epoch,
            start=start,
        )

    def rows_of_batch(self, batch_idx: int, *, epoch: int) -> list[int]:
        """Return which training rows, after splits and subsets, this device has in a batch of an epoch."""
        rank, world_size = self._rank()
        batches = self.train_batches(rank=rank, world_size=world_size, epoch=epoch)
        return next(islice(batches, batch_idx, None))

    def restrict_to(self, split: str, batches: Sequence[list[int]]) -> None:
        """Go through these batches of rows of a split and no others; its other rows are let go."""
        rows = np.unique(np.concatenate(batches))
        self.datasets[split] = self.datasets[split].select(rows).flatten_indices(keep_in_memory=True)
        self.restricted[split] = [
            Batch(np.searchsorted(rows, batch).tolist(), seed=getattr(batch, "seed", 0)) for batch in batches
        ]

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        if "train" in self.restricted:
            return self._loader("train", self.restricted["train"])
        rank, world_size = self._rank()
        epoch = start = 0
        if self.trainer is not None and self.trainer.fit_loop.restarting:
            epoch = self.trainer.current_epoch
            progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
            start = progress.processed
        return self._loader(
            "train", self.train_batches(rank=rank, world_size=world_size, epoch=epoch, start=start)
        )

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self._held_out_loader("validation")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self._held_out_loader("test")

    def _held_out_loader(self, split: str) -> DataLoader[dict[str, Any]]:
        """Each row on exactly one device, none twice: held-out figures are exact on any number of devices."""
        rank, world_size = self._rank()
        batches = self.restricted.get(split) or self.held_out_batches(split, rank=rank, world_size=world_size)
        return self._loader(split, batches)

    def held_out_batches(self, split: str, *, rank: int, world_size: int) -> list[list[int]]:
        """Return the rows of a split as one device gets them, in batches."""
        return held_out_batches(
            self._lengths_to_batch(split),
            batch_size=self.batch_size,
            max_tokens=self.max_tokens_per_batch,
            rank=rank,
            world_size=world_size,
        )

    def every_row(self, split: str) -> tuple[np.ndarray, DataLoader[dict[str, Any]]]:
        """Return the rows of a split, the shortest first, and a loader of them all for one process."""
        batches = self.held_out_batches(split, rank=0, world_size=1)
        return np.concatenate(batches), self._loader(split, batches)

    def lengths(self, split: str) -> np.ndarray:
        """Return the tokens of each row of a split, of all its windows together."""
        lengths: np.ndarray = self.datasets[split].data.column("length").to_numpy()
        return lengths

    def widths(self, split: str) -> np.ndarray:
        """Return how many columns each row needs of a batch's ``input_ids``; of rows with windows, nothing useful."""
        table = self.datasets[split].data
        return np.asarray(pc.list_value_length(table.column("input_ids")))

    def _lengths_to_batch(self, split: str) -> np.ndarray:
        """Return the lengths that batches are made by; a budget counts padding, so theirs are widths, on any device."""
        lengths = self.lengths(split)
        return lengths if self.max_tokens_per_batch is None else round_up(lengths)

    def _loader(
        self, split: str, batches: Sequence[list[int]] | Sequence[Batch] | LengthGroupedBatches
    ) -> DataLoader[dict[str, Any]]:
        dataset: Any = self.datasets[split]
        collate_fn: Any = partial(self.preprocessor.collate, few_widths=self._few_widths)
        if split in self.frozen_states:
            dataset = WithFrozenStates(dataset, self.frozen_states[split])
            collate_fn = partial(collate, inner=collate_fn)
        if isinstance(batches, LengthGroupedBatches) or batches is self.restricted.get("train"):
            dataset = SeededRows(dataset)
        else:
            dataset = HeldOutRows(dataset)
            collate_fn = partial(collate_held_out, inner=collate_fn)
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=collate_fn,
            **worker_settings(self.num_workers),
        )

    @property
    def _few_widths(self) -> bool:
        """Whether batches have few widths: on CPUs, see :func:`lightune.data.batches.padding.width`."""
        return self.trainer is None or self.trainer.strategy.root_device.type == "cpu"

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
