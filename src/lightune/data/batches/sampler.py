"""Which rows make a batch: rows of similar length, so that little is computed on padding."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch.utils.data import Sampler

from lightune.common.errors import UserError

POOL_BATCHES = 50  # sorted by length together: enough to save padding, few enough to stay random
BUCKET_RATIO = 1.1  # of the longest to the shortest row of a bucket, at most


class SeededBatch(list[int]):
    """Row numbers, and a seed for what is random in collating them."""

    def __init__(self, rows: list[int], *, seed: int) -> None:
        super().__init__(rows)
        self.seed = seed


class FillerBatch(list[int]):
    """A row of another device, computed so that all devices make equally many steps, but not counted."""


@dataclass(kw_only=True, eq=False)
class LengthGroupedBatches(Sampler[list[int]]):
    """Every row once an epoch, in batches of similar length, the batches in random order.

    With a batch size, rows are shuffled, pools of them sorted by length and cut into batches, and the batches
    shuffled again (transformers' own grouping leaves long batches first). With a token budget, rows of similar
    length form buckets, which are shuffled and cut into batches of as many rows as the budget holds at that
    length, so each epoch has the same number of batches.

    The order depends on ``seed`` and the epoch alone. On several devices the rows of a step are dealt out in
    turn, so all devices work equally long; a few rows come twice if the devices do not divide the rows.

    Args:
        lengths: tokens of each row.
        batch_size: rows a step on each device.
        max_tokens: tokens a step on each device, padding counted, in place of ``batch_size``; a longer row is
            a batch of its own.
        seed: of the order.
        rank: number of this device.
        world_size: number of devices.
        epoch: the first.
        start: number of the first batch of that epoch: a resumed run has seen those before it.
        rows: the rows of that epoch that are dealt out, where others were in batches of another kind; None: all.
        classes: of each row; an epoch then has equally many rows of each class and as many as there are in all: a rare
            class's rows come several times, and each epoch draws other rows of a frequent one. None: every row comes once.
    """

    lengths: np.ndarray
    batch_size: int
    max_tokens: int | None
    seed: int
    rank: int = 0
    world_size: int = 1
    epoch: int = 0
    start: int = 0
    rows: np.ndarray | None = None
    classes: np.ndarray | None = None

    @property
    def sampler(self) -> "LengthGroupedBatches":
        """Itself: Lightning calls ``set_epoch`` on a batch sampler's ``sampler``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next. Lightning calls this."""
        if epoch != self.epoch:
            self.start, self.rows = 0, None
        self.epoch = epoch

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return len(self._steps(np.random.default_rng(self.seed), rows=None))

    def __iter__(self) -> Iterator[list[int]]:
        for number, step in self._numbered():
            dealt = np.resize(step, -(-len(step) // self.world_size) * self.world_size)
            key = [self.seed, self.epoch, number, self.rank]
            seed = int(np.random.SeedSequence(key).generate_state(1)[0])
            yield SeededBatch(dealt[self.rank :: self.world_size].tolist(), seed=seed)

    def rest(self) -> np.ndarray:
        """Return the rows of this epoch's batches from ``start`` on, on all devices together."""
        return np.concatenate([np.array([], dtype=np.int64), *(step for _, step in self._numbered())])

    def first(self) -> int:
        """Return the number of the first batch from ``start`` on; the last of an epoch always has the same."""
        return next((number for number, _ in self._numbered()), len(self))

    def _numbered(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number and the rows of each step from ``start`` on."""
        rng = np.random.default_rng([self.seed, self.epoch])
        steps = self._steps(rng, rows=self._balanced(rng) if self.rows is None else self.rows)
        first = len(self) - len(steps)
        if first < 0:
            raise UserError(
                f"data.max_tokens_per_batch={self.max_tokens}: the rows left in this epoch make more batches than all rows.\n"
                "Resume with the value that the run was stopped with, or choose another."
            )
        for number, index in enumerate(rng.permutation(len(steps)), start=first):
            if number >= self.start:
                yield number, steps[index]

    def _balanced(self, rng: np.random.Generator) -> np.ndarray | None:
        if self.classes is None:
            return None
        groups = [np.flatnonzero(self.classes == label) for label in np.unique(self.classes)]
        shares = np.array_split(self.classes, len(groups))
        return np.concatenate([np.resize(rng.permutation(g), len(s)) for g, s in zip(groups, shares, strict=True)])

    def _steps(self, rng: np.random.Generator, *, rows: np.ndarray | None) -> list[np.ndarray]:
        """Return the rows of each step, on all devices together."""
        rows = np.arange(len(self.lengths)) if rows is None else np.sort(rows)
        if self.max_tokens is not None:
            return self._steps_within_budget(rng, rows, self.max_tokens)
        size = self.batch_size * self.world_size
        pools = _cut(rng.permutation(rows), POOL_BATCHES * size)
        return [step for pool in pools for step in _cut(pool[np.argsort(self.lengths[pool])], size)]

    def _steps_within_budget(self, rng: np.random.Generator, rows: np.ndarray, max_tokens: int) -> list[np.ndarray]:
        order = rows[np.argsort(self.lengths[rows], kind="stable")]
        ascending = self.lengths[order]
        steps: list[np.ndarray] = []
        remainder = order[:0]
        start = 0
        while start < len(order):
            end = int(np.searchsorted(ascending, max(ascending[start] * BUCKET_RATIO, 1), side="right"))
            size = max(1, max_tokens // max(1, int(ascending[end - 1]))) * self.world_size
            bucket = np.concatenate([remainder, rng.permutation(order[start:end])])
            filled = len(bucket) // size * size if end < len(order) else len(bucket)
            steps += _cut(bucket[:filled], size)
            remainder = bucket[filled:]  # too few for a batch: they go with the next longer rows
            start = end
        return steps


def held_out_batches(
    lengths: np.ndarray, *, batch_size: int, max_tokens: int | None, rank: int = 0, world_size: int = 1
) -> list[list[int]]:
    """Return this device's rows, the shortest first, in batches of ``batch_size`` rows or ``max_tokens`` tokens.

    Each row is counted on exactly one device. All devices get equally many batches, because they may have to
    communicate in each (FSDP gathers weights): a device without a row in the last step gets a ``FillerBatch``.
    """
    order = np.argsort(lengths, kind="stable")
    if max_tokens is None:
        steps = _cut(order, batch_size * world_size)
    else:
        starts, last = [0], len(order) - 1
        # in a turn each device gets a row
        for turn, end in enumerate(range(world_size - 1, last + world_size, world_size)):
            length = lengths[order[min(end, last)]]
            if turn > starts[-1] and (turn - starts[-1] + 1) * length > max_tokens:
                starts.append(turn)
        steps = np.split(order, np.array(starts[1:], dtype=np.int64) * world_size)
    return [step[rank::world_size].tolist() or FillerBatch(step[:1].tolist()) for step in steps]


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
