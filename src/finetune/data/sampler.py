"""In which order rows are seen: like lengths together, so that little is computed on padding."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

POOL = 50  # batches that are sorted by length together: enough to save padding, few enough to stay random


class LengthGroupedSampler(Sampler[int]):
    """Every row once an epoch, in batches of similar length, the batches in random order.

    Rows are shuffled, pools of them sorted by length and cut into batches, and the batches shuffled again
    (transformers' own grouping leaves long batches first). The order depends on ``seed`` and the epoch alone.
    On several devices each step's rows are dealt out in turn, so all work equally long; a few rows
    come twice where the devices do not divide the rows.

    Args:
        lengths: tokens of each row.
        batch_size: rows a step on each device.
        seed: of the order.
        rank: this device's number.
        world_size: how many devices there are.
    """

    def __init__(
        self, *, lengths: np.ndarray, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next. Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = np.resize(rng.permutation(len(self.lengths)), len(self) * self.world_size)
        step = self.batch_size * self.world_size
        batches = []
        for start in range(0, len(order), POOL * step):
            pool = order[start : start + POOL * step]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + step] for i in range(0, len(pool), step)]
        # a short batch must stay last: the loader cuts what comes every batch_size rows
        last = batches.pop() if len(batches[-1]) < step else None
        shuffled = [batches[i] for i in rng.permutation(len(batches))]
        for batch in [*shuffled, *([last] if last is not None else [])]:
            yield from batch[self.rank :: self.world_size].tolist()
