"""The one LightningDataModule: read, split, tokenize, batch. What a row is, the preprocessor knows."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from datasets import Dataset, concatenate_datasets
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from lightune.common.bounds import Between, Count, Seed, Whole
from lightune.common.errors import UserError
from lightune.common.trainer_state import go_to_batch
from lightune.data.batches.dealt import Dealt
from lightune.data.batches.frozen_states import FrozenStates
from lightune.data.batches.loader import SplitRows, collate, worker_settings
from lightune.data.batches.padding import padded_lengths
from lightune.data.batches.sampler import LengthGroupedBatches, SeededBatch, held_out_batches
from lightune.data.prepare_splits import Splits, balanced_classes, read_unlabelled
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.labels import REGRESSION, balanced_weights
from lightune.data.quality import find_not_read
from lightune.data.sources.read import read
from lightune.data.tokenization import tokenize


class DataModule(LightningDataModule):
    """Train, validation and test rows as padded batches of tokens.

    A split that the data set lacks is carved from its training rows, stratified by label; validation
    never holds a test row. With folds, validation is one of them, and train the others. The carving has a
    seed of its own, so runs with different ``seed`` are measured on the same rows.

    Args:
        preprocessor: of the task.
        path: see ``lightune.data.sources.read.read``; ``name``, ``revision``, ``delimiter``, ``class_folders`` too.
        unlabeled_path: further training rows without labels, see ``read``; a teacher answers them.
        train_split: the data set's own name for its training split.
        validation_split: likewise, and ``test_split``; None, or a name that the data set lacks, carves it from train.
        validation_fraction: share of the training rows carved for validation; ``test_fraction`` likewise for test.
        split_seed: chooses the carved rows, the folds and the subsets.
        num_folds: divide all rows but the test's, an own validation split included, into so many folds; None: none.
        fold: the one that is held out for validation, from 0.
        group_column: rows of one value stay together in whatever is carved or divided into folds.
        drop_duplicates: train on one of several rows with the same inputs; they are counted either way.
        drop_leaked: remove from train what validation or test also hold; it is counted either way.
        max_train_samples: train on a stratified subset of this size.
        max_train_samples_per_class: train on so many rows of each class, or on all of a class with fewer.
        max_eval_samples: cut validation and test to a stratified subset of this size, each.
        max_test_samples: the test's size, where it is another; more than there are: all.
        batch_size: rows a step on each device.
        eval_batch_size: held-out rows a step on each device; None: ``batch_size``.
        max_tokens_per_batch: tokens a step on each device, padding counted, in place of ``batch_size``.
        sampling: ``balanced``: an epoch has equally many rows of each class, see ``LengthGroupedBatches``; None: all rows.
        num_workers: processes that collate batches; 0: the main process does.
        seed: chooses the order of the training rows.
    """

    def __init__(
        self,
        *,
        preprocessor: Preprocessor,
        path: str | Mapping[str, str | None],
        name: str | None = None,
        revision: str | None = None,
        delimiter: str | None = None,
        class_folders: list[str] | None = None,
        unlabeled_path: str | None = None,
        train_split: str = "train",
        validation_split: str | None = "validation",
        test_split: str | None = "test",
        validation_fraction: float = 0.1,
        test_fraction: float = 0.15,
        split_seed: Seed = 0,
        num_folds: Annotated[int, Between(2)] | None = None,
        fold: Whole = 0,
        group_column: str | None = None,
        drop_duplicates: bool = False,
        drop_leaked: bool = False,
        max_train_samples: Count | None = None,
        max_train_samples_per_class: Count | None = None,
        max_eval_samples: Count | None = None,
        max_test_samples: Count | None = None,
        batch_size: Count = 32,
        eval_batch_size: Count | None = None,
        max_tokens_per_batch: Count | None = None,
        sampling: Literal["balanced"] | None = None,
        num_workers: Whole = 0,
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        max_test_samples = max_test_samples or max_eval_samples
        self._splits = Splits(
            path=path,
            names={"train": train_split, "validation": validation_split, "test": test_split},
            fractions={"validation": validation_fraction, "test": test_fraction},
            seed=split_seed,
            num_folds=num_folds,
            fold=fold,
            group_column=group_column,
            drop_duplicates=drop_duplicates,
            drop_leaked=drop_leaked,
            max_rows={"train": max_train_samples, "validation": max_eval_samples, "test": max_test_samples},
            max_rows_per_class=max_train_samples_per_class,
        )
        if unlabeled_path is not None and not hasattr(preprocessor, "prepare_unlabelled"):
            only = "only text and token classification learn from rows without labels.\nLeave it out."
            raise UserError(f"data.unlabeled_path={unlabeled_path}: {only}")
        self.preprocessor, self.path = preprocessor, path
        self.unlabeled_path, self.delimiter = unlabeled_path, delimiter
        self._read = partial(read, path, name=name, revision=revision, delimiter=delimiter, class_folders=class_folders)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.max_tokens_per_batch = max_tokens_per_batch
        self.num_workers, self.seed, self.sampling = num_workers, seed, sampling
        # by split: rows as the preprocessor prepared them, and the same tokenized
        self.rows: dict[str, Dataset] = {}
        self.datasets: dict[str, Dataset] = {}
        # by split, where restrict_to or a callback has set them
        self.restricted: dict[str, list[list[int]]] = {}
        self.frozen_states: dict[str, FrozenStates] = {}
        self.dealt = Dealt()
        # by the name that the head's settings have for it
        self._balanced: dict[str, list[float | None]] = {}
        self.warnings: list[str] = []

    @property
    def head(self) -> dict[str, Any]:
        """What the data asks of the model's head; known after ``setup``. Classes have ``balanced_weights`` too."""
        return self.preprocessor.head | self._balanced

    def read_splits(self) -> dict[str, Dataset]:
        """Return the prepared rows of the splits that the data brings, in the order of its files, before any is carved."""
        return self._splits.prepare(self._read(), self.preprocessor)

    def setup(self, stage: str | None = None) -> None:
        """Read, split and tokenize, once for all stages; raise a UserError for data that is not as configured."""
        if self.datasets:
            return
        self.rows, self.warnings = self._splits.make(self._read(), self.preprocessor)
        for split, rows in self.rows.items():
            self.datasets[split] = tokenize(rows, self.preprocessor, split=split)
            if len(self.datasets[split]) == 0:
                raise UserError(f"No row of the {split} split of {self.path} holds anything to learn.")
        if "id2label" in self.head and self.head.get("problem_type") != REGRESSION:
            labels = self.datasets["train"].data.column("labels")
            self._balanced = {"balanced_weights": balanced_weights(labels, self.head)}
        further = [getattr(self.preprocessor, "rows_of_labels", lambda: None)()]
        if self.unlabeled_path is not None:
            further.append(read_unlabelled(self.unlabeled_path, self.preprocessor, delimiter=self.delimiter))
        if tokenized := [tokenize(rows, self.preprocessor, split="train") for rows in further if rows is not None]:
            self.datasets["train"] = concatenate_datasets([self.datasets["train"], *tokenized])
        self.warnings += find_not_read(self.datasets, self.preprocessor)

    def batches_per_epoch(self, *, world_size: int) -> int:
        """Count the training batches that each of ``world_size`` devices gets in an epoch."""
        return len(self.train_batches(rank=0, world_size=world_size))

    def train_batches(self, *, rank: int, world_size: int, epoch: int = 0, start: int = 0) -> LengthGroupedBatches:
        """Return the training rows of an epoch in one device's batches, see ``Dealt``."""
        kind, rows = self._kind(world_size), self.dealt.left(epoch)
        return self._train_batches(*kind, rank=rank, epoch=epoch, start=start, rows=rows)

    def _train_batches(
        self, batch_size: int, max_tokens: int | None, world_size: int, **position: Any
    ) -> LengthGroupedBatches:
        return LengthGroupedBatches(
            lengths=self._batching_lengths("train", max_tokens),
            batch_size=batch_size,
            max_tokens=max_tokens,
            seed=self.seed,
            world_size=world_size,
            classes=balanced_classes(self.datasets["train"], self.preprocessor, max_tokens) if self.sampling else None,
            **position,
        )

    def state_dict(self) -> dict[str, Any]:
        assert self.trainer is not None
        return self.dealt.state(self.trainer, self._kind(self.trainer.world_size))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.trainer is not None
        self.dealt.load(state_dict, self.trainer, self._train_batches, self._kind(self.trainer.world_size))

    def held_out_batches(self, split: str, *, rank: int, world_size: int) -> list[list[int]]:
        """Return the rows of a split in one device's batches; each row is on exactly one device, so metrics are exact."""
        return held_out_batches(
            self._batching_lengths(split, self.max_tokens_per_batch),
            batch_size=self.eval_batch_size,
            max_tokens=self.max_tokens_per_batch,
            rank=rank,
            world_size=world_size,
        )

    def rows_of_batch(self, batch_idx: int, *, epoch: int) -> list[int]:
        """Return which training rows, after splits and subsets, this device has in a batch of an epoch."""
        return next(iter(self.train_batches(**self._place(), epoch=epoch, start=batch_idx)))

    def restrict_to(self, split: str, batches: Sequence[list[int]]) -> None:
        """Use these batches of a split's rows and no others; its other rows are dropped."""
        rows = np.unique(np.concatenate(batches))
        self.datasets[split] = self.datasets[split].select(rows).flatten_indices(keep_in_memory=True)
        numbers: list[list[int]] = [np.searchsorted(rows, batch).tolist() for batch in batches]
        if split == "train":
            seeds = [getattr(batch, "seed", 0) for batch in batches]
            numbers = [SeededBatch(batch, seed=seed) for batch, seed in zip(numbers, seeds, strict=True)]
        self.restricted[split] = numbers

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        epoch = start = 0
        if self.trainer is not None and self.trainer.fit_loop.restarting:
            epoch = self.trainer.current_epoch
            if self.dealt.start is not None:
                go_to_batch(self.trainer, self.dealt.start)
            progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
            start = progress.processed
        batches = self.train_batches(**self._place(), epoch=epoch, start=start)
        return self._loader("train", self.restricted.get("train", batches))

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self._held_out_loader("validation")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self._held_out_loader("test")

    def _held_out_loader(self, split: str) -> DataLoader[dict[str, Any]]:
        batches = self.restricted.get(split) or self.held_out_batches(split, **self._place())
        return self._loader(split, batches)

    def every_row(self, split: str) -> tuple[np.ndarray, DataLoader[dict[str, Any]]]:
        """Return the row numbers of a split, the shortest row first, and a loader of them all for one process."""
        batches = self.held_out_batches(split, rank=0, world_size=1)
        return np.concatenate(batches), self._loader(split, batches)

    def lengths(self, split: str) -> np.ndarray:
        """Return the tokens of each row of a split, of all its windows together."""
        return np.asarray(self.datasets[split].data.column("length"))

    def _batching_lengths(self, split: str, max_tokens: int | None) -> np.ndarray:
        """Return the lengths that batches are made by. A token budget counts padding, so it takes padded widths."""
        if max_tokens is None:
            return self.lengths(split)
        return padded_lengths(self.datasets[split], max_length=getattr(self.preprocessor, "max_length", 0))

    def _loader(self, split: str, batches: Sequence[list[int]] | LengthGroupedBatches) -> DataLoader[dict[str, Any]]:
        # few widths on a CPU, see padded_width
        few_widths = self.trainer is None or self.trainer.strategy.root_device.type == "cpu"
        return DataLoader(
            SplitRows(self.datasets[split], self.frozen_states.get(split)),
            batch_sampler=batches,
            collate_fn=partial(collate, inner=partial(self.preprocessor.collate, few_widths=few_widths)),
            **worker_settings(self.num_workers),
        )

    def _kind(self, world_size: int) -> list[Any]:
        return [self.batch_size, self.max_tokens_per_batch, world_size]

    def _place(self) -> dict[str, int]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return {"rank": rank, "world_size": world_size}
