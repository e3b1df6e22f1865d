"""Count the batches of a run from the lengths of its rows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np

from lightune.data import DataModule
from lightune.data.batches.padding import round_up


@dataclass(frozen=True)
class Batches:
    """Sizes of batches, one array entry each.

    Attributes:
        rows: number of rows.
        columns: width of ``input_ids``, with padding.
        tokens: real tokens of ``input_ids``.
        longest: greatest length of a row, which determines the computation: for translation, source plus target.
    """

    rows: np.ndarray
    columns: np.ndarray
    tokens: np.ndarray
    longest: np.ndarray

    def work(self, *, hidden_size: int) -> np.ndarray:
        """Return the relative cost of each batch: its tokens, and the attention of each token to its row.

        A transformer layer multiplies a token by 12 h² weights, and by 2 h for each token that it attends to.
        """
        work: np.ndarray = self.rows * self.longest * (1 + self.longest / (6 * hidden_size))
        return work


def batches(data: DataModule, split: str, rows: Sequence[list[int]], *, few_widths: bool) -> Batches:
    """Measure batches of a split.

    Args:
        data: the run's data.
        split: ``train``, ``validation`` or ``test``.
        rows: row indices of each batch.
        few_widths: batches are padded to few widths, as on a CPU.
    """
    lengths = data.lengths(split)
    # held-out rows may consist of several windows
    widths = data.widths(split) if split == "train" else lengths

    def padded(lengths: np.ndarray, max_length: float) -> np.ndarray:
        longest = np.array([lengths[batch].max() for batch in rows])
        return np.minimum(round_up(longest), max_length) if few_widths else longest

    return Batches(
        rows=np.array([len(batch) for batch in rows]),
        columns=padded(widths, getattr(data.preprocessor, "max_length", np.inf)),
        tokens=np.array([widths[batch].sum() for batch in rows]),
        longest=padded(lengths, np.inf),
    )


@dataclass(frozen=True)
class Workload:
    """The batches of a run on one device.

    Attributes:
        epochs: row indices of each training batch, epoch by epoch.
        held_out: row indices of each batch of ``validation`` and ``test``.
        train: sizes of the training batches of all epochs.
        work: relative cost of each batch, by split.
    """

    epochs: list[list[list[int]]]
    held_out: dict[str, list[list[int]]]
    train: Batches
    work: dict[str, np.ndarray]


def of_run(data: DataModule, trainer: Any, *, hidden_size: int) -> Workload:
    """Count the batches of a run.

    Args:
        data: the run's data.
        trainer: a Trainer as the run will have it.
        hidden_size: the model's.
    """
    few_widths = trainer.strategy.root_device.type == "cpu"
    epochs = list(training_rows(data, trainer))
    train = batches(data, "train", [rows for epoch in epochs for rows in epoch], few_widths=few_widths)
    work = {"train": train.work(hidden_size=hidden_size)}
    held_out = {}
    for split, limit in (("validation", trainer.limit_val_batches), ("test", trainer.limit_test_batches)):
        rows = data.held_out_batches(split, rank=0, world_size=trainer.world_size)
        held_out[split] = limited(rows, limit)
        sizes = batches(data, split, held_out[split], few_widths=few_widths)
        work[split] = sizes.work(hidden_size=hidden_size)
    return Workload(epochs=epochs, held_out=held_out, train=train, work=work)


def training_rows(data: DataModule, trainer: Any) -> Iterator[list[list[int]]]:
    """Yield the row indices of one device's batches, epoch by epoch, until the run reaches its last epoch or step."""
    steps_left = trainer.max_steps if trainer.max_steps > 0 else math.inf
    epochs = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else math.inf
    for epoch in count():
        if epoch >= epochs or steps_left <= 0:
            return
        rows = list(data.train_batches(rank=0, world_size=trainer.world_size, epoch=epoch))
        rows = limited(rows, trainer.limit_train_batches)
        if steps_left < math.inf:
            rows = list(islice(rows, int(steps_left) * trainer.accumulate_grad_batches))
            steps_left -= math.ceil(len(rows) / trainer.accumulate_grad_batches)
        yield rows


def limited(batches: list[list[int]], limit: float) -> list[list[int]]:
    """Apply Lightning's ``limit_…_batches``: a number of batches, or a share of them."""
    return batches[: limit if isinstance(limit, int) else int(len(batches) * limit)]


def num_validations(epochs: list[int], trainer: Any) -> int:
    """Count the validations of a run.

    Args:
        epochs: number of batches in each epoch.
        trainer: the Trainer with the run's ``val_check_interval`` and ``check_val_every_n_epoch``.
    """
    interval, every = trainer.val_check_interval, trainer.check_val_every_n_epoch
    if trainer.limit_val_batches == 0:
        return 0
    if every is None:
        return int(sum(epochs) // interval)
    between = interval if isinstance(interval, int) else max(1, int(epochs[0] * interval))
    return sum(num_batches // between for num_batches in epochs[every - 1 :: every])


def spread(work: np.ndarray, number: int) -> list[int]:
    """Choose batches at even distances in the order of their work, with the least and the most among them."""
    order = np.argsort(work, kind="stable")
    positions = np.linspace(0, len(order) - 1, min(number, len(order))).round().astype(int)
    return [int(index) for index in order[np.unique(positions)]]
