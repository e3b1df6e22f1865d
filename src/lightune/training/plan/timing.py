"""Time the steps of a few batches, and infer the time of others."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from lightune.common.trainer_state import is_fitting
from lightune.models.frozen_layers import FrozenLayers
from lightune.tasks.batch import inputs


class Timer(Callback):
    """Time the batches of a fit that repeats the same few batches; validation batches likewise.

    A step is timed from the arrival of its batch to that of the next, so that loading and other callbacks count. The
    first pass over the batches is slow, because memory is mapped and kernels are compiled. In the second pass the
    floating-point operations of the first and the last batch are counted, which takes time too. Training stops after
    ``min_seconds``, and at least two timed passes.
    """

    def __init__(self, *, num_batches: int, min_seconds: float) -> None:
        self.num_batches = num_batches
        self.min_seconds = min_seconds
        # floating-point operations by batch
        self.flops: dict[int, int] = {}
        # seconds of the validation batches during the fit and after it
        self.validation: list[float] = []
        self.evaluation: list[float] = []
        # seconds of each batch in all passes
        self._batches: list[list[float]] = [[] for _ in range(num_batches)]
        self._optimizer_steps: list[float] = []
        self._index = 0
        self._batch_start: float | None = None
        self._optimizer_start: float | None = None
        self._optimizer_seconds = 0.0
        self._counter: FlopCounterMode | None = None
        self._deadline: float | None = None

    @property
    def batches(self) -> list[float]:
        """The seconds of each batch, without the optimizer's step."""
        return [undisturbed(seconds[2:]) for seconds in self._batches]

    @property
    def optimizer(self) -> float:
        """The seconds of an optimizer step."""
        return undisturbed(self._optimizer_steps) if self._optimizer_steps else 0.0

    @property
    def warmup(self) -> float:
        """The seconds by which the first pass was slower."""
        return max(0.0, sum(seconds[0] for seconds in self._batches) - sum(self.batches))

    def on_train_batch_start(self, trainer: Trainer, _: Any, batch: Any, batch_idx: int) -> None:
        self._end_batch()
        self._index = batch_idx
        pass_index, position = divmod(batch_idx, self.num_batches)
        if pass_index == 1 and position in (0, self.num_batches - 1):
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()  # type: ignore[no-untyped-call]
        if pass_index == 1 and self._deadline is None:
            self._deadline = time.perf_counter() + self.min_seconds
        self._batch_start = now()

    def on_before_optimizer_step(self, *_: Any) -> None:
        self._optimizer_start = now()

    def on_train_batch_end(self, trainer: Trainer, _: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._optimizer_start is not None:
            self._optimizer_seconds = now() - self._optimizer_start
            self._optimizer_start = None
        passes = (batch_idx + 1) // self.num_batches
        if passes >= 4 and self._deadline is not None and time.perf_counter() > self._deadline:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_batch()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_batch()

    def on_validation_batch_start(self, *_: Any) -> None:
        self._batch_start = now()

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        assert self._batch_start is not None
        times = self.validation if is_fitting(trainer) else self.evaluation
        times.append(now() - self._batch_start)
        self._batch_start = None

    def _end_batch(self) -> None:
        """Record the step that has ended."""
        if self._batch_start is None:
            return
        seconds = now() - self._batch_start - self._optimizer_seconds
        pass_index, position = divmod(self._index, self.num_batches)
        self._batches[position].append(seconds)
        if pass_index >= 2 and self._optimizer_seconds:
            self._optimizer_steps.append(self._optimizer_seconds)
        if self._counter is not None:
            self._counter.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self.flops[position] = self._counter.get_total_flops()
            self._counter = None
        self._batch_start, self._optimizer_seconds = None, 0.0


def time_frozen_layers(
    trainer: Trainer, task: Any, batches: Iterable[dict[str, Any]], frozen_layers: FrozenLayers
) -> list[float]:
    """Return the seconds of the frozen lowest layers alone, for each batch."""
    task.to(trainer.strategy.root_device)
    model_inputs = [inputs(trainer.strategy.batch_to_device(batch)) for batch in batches]
    times: list[list[float]] = [[] for _ in model_inputs]
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        for repetition in range(4):
            for batch, seconds in zip(model_inputs, times, strict=True):
                start = now()
                frozen_layers.states(task.model, batch)
                # the first pass is slow
                if repetition > 0:
                    seconds.append(now() - start)
    return [undisturbed(seconds) for seconds in times]


def total(work: np.ndarray, *, known: np.ndarray, values: Sequence[float]) -> float:
    """Return the seconds of batches, interpolated per unit of work from the timed ``values`` of batches of ``known`` work.

    The same holds for operations. Without values the total is 0.
    """
    if not values:
        return 0.0
    order = np.argsort(known)
    return float((work * np.interp(work, known[order], (np.array(values) / known)[order])).sum())


def undisturbed(seconds: list[float]) -> float:
    """Return the lower quartile, since other processes on the machine only ever make steps slower."""
    return float(np.quantile(seconds, 0.25))


def now() -> float:
    """Return a time in seconds, once the GPU, of whatever make, has finished its work."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()
