"""What a run has to go through: its batches, counted from the lengths of the data's rows."""

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
    """Batches as arrays, an entry each.

    Args:
        rows: how many.
        columns: how wide ``input_ids`` are, padding counted.
        tokens: real ones of ``input_ids``.
        longest: of the lengths that say how much there is to compute: of a translation, source and target.
    """

    rows: np.ndarray
    columns: np.ndarray
    tokens: np.ndarray
    longest: np.ndarray

    @property
    def computed_tokens(self) -> np.ndarray:
        computed: np.ndarray = self.rows * self.columns
        return computed

    def work(self, *, hidden_size: int) -> np.ndarray:
        """Return what each costs, in no unit: tokens, and the attention that each pays to its row.

        A transformer layer multiplies by 12 h² weights for a token, and by 2 h for each token that it looks at.
        """
        work: np.ndarray = self.rows * self.longest * (1 + self.longest / (6 * hidden_size))
        return work


def batches(
    data: DataModule, split: str, rows: Sequence[list[int]], *, few_widths: bool, is_whole: bool = True
) -> Batches:
    """Describe batches of rows of a split."""
    lengths = data.lengths(split)
    widths = data.widths(split) if is_whole else lengths
    most = getattr(data.preprocessor, "max_length", np.inf)

    def padded(lengths: np.ndarray, most: float) -> np.ndarray:
        longest = np.array([lengths[batch].max() for batch in rows])
        return np.minimum(round_up(longest), most) if few_widths else longest

    return Batches(
        rows=np.array([len(batch) for batch in rows]),
        columns=padded(widths, most),
        tokens=np.array([widths[batch].sum() for batch in rows]),
        longest=padded(lengths, np.inf),
    )


def training_rows(data: DataModule, trainer: Any) -> Iterator[list[list[int]]]:
    """Yield the batches of rows of one device, epoch by epoch, until the run ends by its epochs or steps."""
    steps_left = trainer.max_steps if trainer.max_steps > 0 else math.inf
    epochs = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else math.inf
    for epoch in count():
        if epoch >= epochs or steps_left <= 0:
            return
        rows = list(data.train_batches(rank=0, world_size=trainer.world_size, epoch=epoch))
        rows = rows[: limited(len(rows), trainer.limit_train_batches)]
        if steps_left < math.inf:
            rows = list(islice(rows, int(steps_left) * trainer.accumulate_grad_batches))
            steps_left -= math.ceil(len(rows) / trainer.accumulate_grad_batches)
        yield rows


def limited(number: int, limit: float) -> int:
    """Return how many of a number of batches Lightning's ``limit_…_batches`` lets through."""
    return min(number, limit) if isinstance(limit, int) else int(number * limit)


def num_validations(epochs: list[int], trainer: Any) -> int:
    """Count the validations of a run.

    Args:
        epochs: batches of each epoch.
        trainer: whose ``val_check_interval`` and ``check_val_every_n_epoch`` count.
    """
    interval, every = trainer.val_check_interval, trainer.check_val_every_n_epoch
    if trainer.limit_val_batches == 0:
        return 0
    if every is None:
        return int(sum(epochs) // interval)
    found = 0
    for epoch, number in enumerate(epochs):
        if (epoch + 1) % every == 0:
            found += number // (interval if isinstance(interval, int) else max(1, int(epochs[0] * interval)))
    return found


def spread(work: np.ndarray, most: int) -> list[int]:
    """Choose batches at even distances in the order of their work, the least and the most among them."""
    order = np.argsort(work, kind="stable")
    places = np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)
    return [int(index) for index in order[np.unique(places)]]
