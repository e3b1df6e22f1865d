"""Which rows make a batch: those of like length, so that little is computed on padding."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

POOL = 50  # batches that are sorted by length together: enough to save padding, few enough to stay random
ALIKE = 1.1  # how much longer than the shortest the longest row of a bucket may be


class Batch(list[int]):
    """Row numbers, and a seed for what is random in collating them."""

    def __init__(self, rows: list[int], *, seed: int) -> None:
        super().__init__(rows)
        self.seed = seed


class LengthGroupedBatches(Sampler[list[int]]):
    """Every row once an epoch, in batches of similar length, the batches in random order.

    With a batch size, rows are shuffled, pools of them sorted by length and cut into batches, and the batches
    shuffled again (transformers' own grouping leaves long batches first). With a token budget, rows of like
    length form buckets, are shuffled within, and are cut into as many rows a batch as the budget holds at that
    length; so each epoch has the same number of batches.

    The order depends on ``seed`` and the epoch alone. On several devices each step's rows are dealt out in
    turn, so all work equally long; a few rows come twice where the devices do not divide the rows.

    Args:
        lengths: tokens of each row.
        batch_size: rows a step on each device.
        max_tokens: tokens a step on each device, padding counted, in place of ``batch_size``; a longer row is
            a batch of its own.
        seed: of the order.
        rank: this device's number.
        world_size: how many devices there are.
        epoch: that comes first.
        start: batches of that epoch that have been seen already: a resumed run goes on behind them.
    """

    def __init__(
        self,
        *,
        lengths: np.ndarray,
        batch_size: int,
        max_tokens: int | None,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        start: int = 0,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = epoch
        self.start = start
        self._count: int | None = None

    @property
    def sampler(self) -> "LengthGroupedBatches":
        """Where Lightning looks, in a batch sampler, for what to tell the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next. Lightning calls this."""
        if epoch != self.epoch:
            self.start = 0
        self.epoch = epoch

    def __len__(self) -> int:
        if self._count is None:
            self._count = len(self._steps(np.random.default_rng(self.seed)))
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        steps = self._steps(rng)
        for number, index in enumerate(rng.permutation(len(steps))):
            if number < self.start:
                continue
            step = steps[index]
            dealt = np.resize(step, -(-len(step) // self.world_size) * self.world_size)
            key = [self.seed, self.epoch, number, self.rank]
            seed = int(np.random.SeedSequence(key).generate_state(1)[0])
            yield Batch(dealt[self.rank :: self.world_size].tolist(), seed=seed)

    def _steps(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Return the rows of each step, of all devices."""
        if self.max_tokens is not None:
            return self._within_budget(rng, self.max_tokens)
        order = rng.permutation(len(self.lengths))
        rows = self.batch_size * self.world_size
        pools = (order[start : start + POOL * rows] for start in range(0, len(order), POOL * rows))
        return [step for pool in pools for step in _cut(pool[np.argsort(self.lengths[pool])], rows)]

    def _within_budget(self, rng: np.random.Generator, max_tokens: int) -> list[np.ndarray]:
        order = np.argsort(self.lengths, kind="stable")
        ascending = self.lengths[order]
        steps: list[np.ndarray] = []
        left = order[:0]
        start = 0
        while start < len(order):
            end = int(np.searchsorted(ascending, max(ascending[start] * ALIKE, 1), side="right"))
            rows = max(1, max_tokens // max(1, int(ascending[end - 1]))) * self.world_size
            bucket = np.concatenate([left, rng.permutation(order[start:end])])
            whole = len(bucket) // rows * rows if end < len(order) else len(bucket)
            steps += _cut(bucket[:whole], rows)
            left = bucket[whole:]  # too few for a batch: they go with the next longer rows
            start = end
        return steps


class SeededRows(Dataset[dict[str, Any]]):
    """Training rows whose collation draws from the batch's own seed: the same words are masked, in whatever process."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, batch: Batch) -> list[dict[str, Any]]:
        torch.manual_seed(batch.seed)
        rows: list[dict[str, Any]] = self.dataset.__getitems__(list(batch))
        return rows


class FillerRows(list[int]):
    """The number of another device's row: computed, so that all devices make as many steps, and not counted."""


class ReadRows(list[Any]):
    """What was read of held-out rows, with what :func:`collate_held_out` tells of them."""

    def __init__(self, rows: list[Any], *, numbers: list[int], filler: bool) -> None:
        super().__init__(rows)
        self.numbers = numbers
        self.filler = filler


class HeldOutRows(Dataset[dict[str, Any]]):
    """Rows of which :func:`collate_held_out` knows their numbers and whether they are filler."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, batch: list[int]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.dataset.__getitems__(list(batch))
        return ReadRows(rows, numbers=list(batch), filler=isinstance(batch, FillerRows))


def collate_held_out(
    features: ReadRows, *, inner: Callable[[list[dict[str, Any]]], dict[str, Any]]
) -> dict[str, Any]:
    """Collate rows; ``row_numbers`` are theirs in the split, and a batch that only keeps step says ``filler``."""
    batch = inner(features) | {"row_numbers": features.numbers}
    return batch | {"filler": True} if features.filler else batch


def held_out_batches(
    lengths: np.ndarray, *, batch_size: int, max_tokens: int | None, rank: int = 0, world_size: int = 1
) -> list[list[int]]:
    """Return this device's rows, the shortest first, in batches of ``batch_size`` rows or ``max_tokens`` tokens.

    Each row is counted on exactly one device. All devices have as many batches, for they may have to talk to each
    other in each (FSDP gathers weights): where the last step has no row for one, that one's batch is :class:`FillerRows`.
    """
    order = np.argsort(lengths, kind="stable")
    if max_tokens is None:
        steps = _cut(order, batch_size * world_size)
    else:
        starts, last = [0], len(order) - 1
        for turn, end in enumerate(
            range(world_size - 1, last + world_size, world_size)
        ):  # a row for each device
            length = lengths[order[min(end, last)]]
            if turn > starts[-1] and (turn - starts[-1] + 1) * length > max_tokens:
                starts.append(turn)
        steps = np.split(order, np.array(starts[1:], dtype=np.int64) * world_size)
    return [step[rank::world_size].tolist() or FillerRows(step[:1].tolist()) for step in steps]


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
