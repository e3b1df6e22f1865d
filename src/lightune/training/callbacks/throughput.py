"""Speed, padding and memory of training, measured while it runs."""

import resource
import sys
import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightune.common.trainer_state import completes_step, is_fitting
from lightune.models import padding_free


class Throughput(Callback):
    """Count samples, tokens and seconds of training, without the seconds of validation.

    The progress bar and the loggers receive samples and tokens per second and the padding efficiency of the latest
    steps; ``summary`` returns the figures of the whole run.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.samples = 0
        # stays on the device: reading it in each step would make the GPU wait
        self._tokens: Tensor | int = 0
        self._computed_tokens: Tensor | int = 0
        self._started: float | None = None
        # the counts at the last logged step
        self._window = [0.0] * 4

    def on_save_checkpoint(self, trainer: Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["throughput"] = {"counts": self._counts(trainer), "window": self._window}

    def on_load_checkpoint(self, trainer: Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        self.seconds, *counts = checkpoint["throughput"]["counts"]
        self._window = checkpoint["throughput"]["window"]
        # the sums include the other ranks' counts
        if trainer.is_global_zero:
            self.samples, self._tokens, self._computed_tokens = map(int, counts)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a run that resumes within an epoch has no epoch start
        self._started = time.perf_counter()

    on_train_epoch_start = on_train_start

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += self._running()
        self._started = None

    on_train_epoch_end = on_validation_start

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_fitting(trainer):
            self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        mask = batch["attention_mask"]
        self.samples += len(batch.get("num_windows", mask))
        self._tokens = self._tokens + mask.sum()
        is_packed = padding_free.skips_padding(getattr(pl_module, "model", None))
        self._computed_tokens = self._computed_tokens + (mask.sum() if is_packed else mask.numel())
        if is_log_step(trainer):
            now = self._counts(trainer)
            pairs = zip(now, self._window, strict=True)
            rates = _rates(*(max(new - old, 1e-9) for new, old in pairs))
            self._window = now
            pl_module.log_dict(rates, prog_bar=True, batch_size=len(mask))

    def summary(self, trainer: Trainer) -> dict[str, float]:
        """Return the ``train/…`` figures of the run so far, over all devices. Every rank must call this."""
        seconds, samples, tokens, computed = self._counts(trainer)
        return {
            "train/seconds": seconds,
            **_rates(max(seconds, 1e-9), samples, tokens, max(computed, 1)),
            "train/peak_memory_bytes": peak_memory_bytes(),
        }

    def _counts(self, trainer: Trainer) -> list[float]:
        """Return the seconds of training, and the samples, tokens and computed tokens of all devices."""
        counts = torch.tensor(
            [self.samples, int(self._tokens), int(self._computed_tokens)],
            dtype=torch.float64 if trainer.strategy.root_device.type != "mps" else torch.float32,
            device=trainer.strategy.root_device,
        )
        totals: list[float] = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        return [self.seconds + self._running(), *totals]

    def _running(self) -> float:
        return 0.0 if self._started is None else time.perf_counter() - self._started


def _rates(seconds: float, samples: float, tokens: float, computed_tokens: float) -> dict[str, float]:
    return {
        "train/samples_per_second": samples / seconds,
        "train/tokens_per_second": tokens / seconds,
        "train/padding_efficiency": tokens / computed_tokens,
    }


def is_log_step(trainer: Trainer) -> bool:
    """Return whether the current batch completes an optimizer step whose metrics are logged."""
    return completes_step(trainer) and trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]


def peak_memory_bytes() -> int:
    """Return the peak GPU memory of this process, or its peak resident memory where there is no GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB
    return peak if sys.platform == "darwin" else peak * 1024
