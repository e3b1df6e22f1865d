"""What training costs: seconds, samples, tokens, padding and memory, counted while it runs."""

import resource
import sys
import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor


class Throughput(Callback):
    """Count samples and tokens against seconds of training, validation's seconds left out.

    The progress bar and the loggers get samples and tokens a second and the padding efficiency of the last
    steps; ``summary`` has the figures of the whole run.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.samples = 0
        self._tokens: Tensor | int = 0  # kept on the device: reading it each step would make the GPU wait
        self._computed_tokens = 0
        self._started: float | None = None
        self._window = [0.0] * 4  # the counts when the last figures were told

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["throughput"] = {"counts": self._counts(trainer), "window": self._window}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.seconds, *counts = checkpoint["throughput"]["counts"]
        self._window = checkpoint["throughput"]["window"]
        if trainer.is_global_zero:  # the others' part is in these sums
            self.samples, self._tokens, self._computed_tokens = map(int, counts)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start()  # a run that goes on within an epoch does not start one

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Tensor],
        batch_idx: int,
    ) -> None:
        mask = batch["attention_mask"]
        self.samples += len(mask)
        self._tokens = self._tokens + mask.sum()
        self._computed_tokens += mask.numel()
        if is_log_step(trainer):
            now = self._counts(trainer)
            pairs = zip(now, self._window, strict=True)
            seconds, samples, tokens, computed = (max(new - old, 1e-9) for new, old in pairs)
            self._window = now
            found = {
                "train/samples_per_second": samples / seconds,
                "train/tokens_per_second": tokens / seconds,
                "train/padding_efficiency": tokens / computed,
            }
            pl_module.log_dict(found, prog_bar=True, batch_size=len(mask))

    def summary(self, trainer: Trainer) -> dict[str, float]:
        """Return ``train/…`` figures of the run so far, over all devices. Every rank must call this."""
        total, samples, tokens, computed = self._counts(trainer)
        seconds = max(total, 1e-9)
        return {
            "train/seconds": total,
            "train/samples_per_second": samples / seconds,
            "train/tokens_per_second": tokens / seconds,
            "train/padding_efficiency": tokens / max(computed, 1),
            "train/peak_memory_bytes": peak_memory_bytes(),
        }

    def _counts(self, trainer: Trainer) -> list[float]:
        """Return seconds of training, and samples, tokens and computed tokens over all devices."""
        counts = torch.tensor(
            [self.samples, int(self._tokens), self._computed_tokens],
            dtype=torch.float64 if trainer.strategy.root_device.type != "mps" else torch.float32,
            device=trainer.strategy.root_device,
        )
        totals: list[float] = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        return [self.seconds + self._running(), *totals]

    def _start(self) -> None:
        self._started = time.perf_counter()

    def _running(self) -> float:
        return 0.0 if self._started is None else time.perf_counter() - self._started

    def _stop(self) -> None:
        self.seconds += self._running()
        self._started = None


def is_log_step(trainer: Any) -> bool:
    """Say whether the batch that has just ended completes a step of those whose figures are told."""
    stepped: bool = not trainer.fit_loop._should_accumulate()
    return stepped and trainer.global_step % trainer.log_every_n_steps == 0


def peak_memory_bytes() -> int:
    """Return the most GPU memory that this process has held, or its resident memory where there is no GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
