"""The time of each step, by what it works on."""

import time
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode


class Timer(Callback):
    """Time the batches of a fit that goes through the same few again and again; validation batches likewise.

    A step is timed from its batch's arrival to the next one's, so that loading and other callbacks count. The first
    pass is slow: memory is mapped and kernels are made. In the second the floating-point operations of the first and
    the last batch are counted, which takes time too.

    Args:
        num_batches: of a pass.
        enough_seconds: after so many, and two passes that were timed, training stops.
    """

    def __init__(self, *, num_batches: int, enough_seconds: float) -> None:
        self.num_batches = num_batches
        self.enough_seconds = enough_seconds
        self.first: list[float] = []  # seconds of each batch in the first pass
        self.flops: dict[int, int] = {}
        self.validation: list[float] = []
        self._later: dict[int, list[float]] = {}
        self._optimizer: list[float] = []
        self._index = 0
        self._began: float | None = None
        self._stepping: float | None = None
        self._stepped = 0.0
        self._counter: FlopCounterMode | None = None
        self._until: float | None = None

    @property
    def batches(self) -> np.ndarray:
        """Return the seconds of each batch, the optimizer's step left out."""
        return np.array([undisturbed(self._later[index]) for index in range(self.num_batches)])

    @property
    def optimizer(self) -> float:
        """Return the seconds of the optimizer's step."""
        return undisturbed(self._optimizer) if self._optimizer else 0.0

    @property
    def extra(self) -> float:
        """Return how much longer the first pass took."""
        return max(0.0, float(np.sum(self.first) - self.batches.sum()))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._end()
        self._index = batch_idx
        turn, number = divmod(batch_idx, self.num_batches)
        if turn == 1 and number in (0, self.num_batches - 1):
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()  # type: ignore[no-untyped-call]
        if turn == 1 and self._until is None:
            self._until = time.perf_counter() + self.enough_seconds
        self._began = _now()

    def on_before_optimizer_step(self, *_: Any) -> None:
        self._stepping = _now()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._stepping is not None:
            self._stepped = _now() - self._stepping
            self._stepping = None
        done = (batch_idx + 1) // self.num_batches
        if done >= 4 and self._until is not None and time.perf_counter() > self._until:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_validation_batch_start(self, *_: Any) -> None:
        self._began = _now()

    def on_validation_batch_end(self, *_: Any) -> None:
        assert self._began is not None
        self.validation.append(_now() - self._began)
        self._began = None

    def _end(self) -> None:
        """Note the step that is over."""
        if self._began is None:
            return
        seconds = _now() - self._began - self._stepped
        turn, number = divmod(self._index, self.num_batches)
        if turn == 0:
            self.first.append(seconds)
        elif self._counter is not None:
            self._counter.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self.flops[number] = self._counter.get_total_flops()
            self._counter = None
        else:
            self._later.setdefault(number, []).append(seconds)
            if self._stepped:
                self._optimizer.append(self._stepped)
        self._began, self._stepped = None, 0.0


def interpolated(work: np.ndarray, *, known: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return the seconds of batches from those of a few: the seconds for a unit of work go evenly from one to the next."""
    order = np.argsort(known)
    found: np.ndarray = work * np.interp(work, known[order], (seconds / known)[order])
    return found


def undisturbed(seconds: list[float]) -> float:
    """Return the lower quartile: what else a machine does makes steps longer, never shorter."""
    return float(np.quantile(seconds, 0.25))


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
