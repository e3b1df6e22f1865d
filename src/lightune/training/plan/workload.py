"""Count the batches of a run from the lengths of its rows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np

from lightune.common.trainer_state import limited
from lightune.data import DataModule
from lightune.data.batches.padding import round_up, windows_and_widths

Batches = list[list[int]]
"""The row indices of each batch."""


@dataclass(frozen=True)
class Workload:
    """The batches of a run on one device: for training by epoch, held out by split.

    ``work`` is the relative cost of each batch, by split. ``tokens`` are the real ones of ``input_ids`` in all training
    batches, ``computed_tokens`` the same with padding.
    """

    epochs: list[Batches]
    held_out: dict[str, Batches]
    work: dict[str, np.ndarray]
    tokens: int
    computed_tokens: int


def of_run(data: DataModule, trainer: Any, *, hidden_size: int) -> Workload:
    """Count the batches that a run goes through with this data and a Trainer of its settings."""
    few_widths = trainer.strategy.root_device.type == "cpu"
    epochs = list(training_batches(data, trainer))
    held_out = {}
    for split, limit in (("validation", trainer.limit_val_batches), ("test", trainer.limit_test_batches)):
        batches = data.held_out_batches(split, rank=0, world_size=trainer.world_size)
        held_out[split] = batches[: limited(len(batches), limit)]
    train = [rows for epoch in epochs for rows in epoch]
    work = {}
    for split, batches in {"train": train, **held_out}.items():
        # a transformer layer multiplies a token by 12 h² weights, and by 2 h for each token that it attends to
        lengths = max_lengths(data.lengths(split), batches, few_widths=few_widths)
        work[split] = np.array([*map(len, batches)]) * lengths * (1 + lengths / (6 * hidden_size))
    return Workload(
        epochs=epochs,
        held_out=held_out,
        work=work,
        tokens=int(windows_and_widths(data.datasets["train"])[1][np.concatenate(train)].sum()),
        computed_tokens=int(computed_tokens(data, train, few_widths=few_widths).sum()),
    )


def computed_tokens(data: DataModule, batches: Batches, *, few_widths: bool) -> np.ndarray:
    """Return the tokens of ``input_ids`` in each training batch, with padding."""
    windows, lengths = windows_and_widths(data.datasets["train"])
    widths = max_lengths(lengths, batches, few_widths=few_widths)
    if few_widths or windows.max() > 1:
        widths = np.minimum(widths, getattr(data.preprocessor, "max_length", np.inf))
    computed: np.ndarray = widths * np.array([windows[rows].sum() for rows in batches])
    return computed


def max_lengths(lengths: np.ndarray, batches: Batches, *, few_widths: bool) -> np.ndarray:
    """Return the greatest length in each batch; ``few_widths`` rounds it up, as batches on a CPU do."""
    longest = np.array([lengths[rows].max() for rows in batches])
    return round_up(longest) if few_widths else longest


def training_batches(data: DataModule, trainer: Any) -> Iterator[Batches]:
    """Yield the row indices of one device's batches, epoch by epoch, until the run reaches its last epoch or step."""
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


def num_validations(epochs: list[int], trainer: Any) -> int:
    """Count the validations of a run with so many batches in each epoch, by the settings of its Trainer."""
    interval, every = getattr(trainer, "val_check_interval", None), trainer.check_val_every_n_epoch
    if interval is None:  # it is a time: once an epoch is a guess
        interval, every = 1.0, every or 1
    if every is None:
        return int(sum(epochs) // interval)
    between = interval if isinstance(interval, int) else max(1, int(epochs[0] * interval))
    return sum(num_batches // between for num_batches in epochs[every - 1 :: every])


def spread(work: np.ndarray, number: int) -> list[int]:
    """Choose batches at even distances in the order of their work, with the least and the most among them."""
    order = np.argsort(work, kind="stable")
    positions = np.linspace(0, len(order) - 1, min(number, len(order))).round().astype(int)
    return [int(index) for index in order[np.unique(positions)]]
