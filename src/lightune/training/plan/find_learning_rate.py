"""Suggest a learning rate by the range test of Smith (2017)."""

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from lightning import Callback, Trainer
from matplotlib import pyplot as plt

from lightune.common.errors import UserError
from lightune.training.callbacks import CacheFrozenLayers, FailFast
from lightune.training.plan import dry_run

STEPS = 100
MIN_RATE, MAX_RATE = 1e-7, 1e-1
SMOOTHING = 0.9
# The suggestion is at most this much smaller than the rate at which the loss is lowest.
MARGIN = 3.0
# A loss that has grown by this factor has diverged.
DIVERGENCE = 2.0


def range_test(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train a hundred steps, each at a higher rate than the one before, and discard them.

    The ratios between the layers' rates (``layerwise_lr_decay``) and gradient accumulation are those of the run, unlike in
    Lightning's own finder, which gives every group one rate and reads the loss of a micro-batch.

    The plot is written to ``lr_find.png`` in ``folder``; interpolations of ``config`` are resolved.

    Raises:
        UserError: the loss falls at no rate.
    """
    cfg, (_, data, task) = dry_run.load(config)
    # a linear probe has a rate of its own, and optimizer.lr must suit all weights
    task.thaw()
    test = RangeTest()
    # the loss is meant to diverge here, and a hundred steps are not worth a cache
    callbacks = [*dry_run.callbacks(cfg, exclude=(CacheFrozenLayers, FailFast)), test]
    trainer = dry_run.trainer(cfg, callbacks=callbacks, max_epochs=-1, max_steps=STEPS)
    trainer.fit(task, data)
    smooth_losses = smoothed(test.losses)
    rates = test.rates[: len(smooth_losses)]
    suggestion, least_at = suggested(rates, smooth_losses)
    result = {"lr": rates, "loss": test.losses, "smoothed_loss": smooth_losses}
    _plot(**result, suggestion=suggestion, file=folder / "lr_find.png")
    return {**result, "suggestion": suggestion, "least_at": least_at}


def rate_at(step: int) -> float:
    """Return the rate of a step, evenly spaced on a logarithmic scale."""
    return float(MIN_RATE * (MAX_RATE / MIN_RATE) ** (step / (STEPS - 1)))


def smoothed(losses: list[float]) -> list[float]:
    """Return the exponential moving average of the losses, corrected for its start at 0."""
    mean = 0.0
    result: list[float] = []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        result.append(mean / (1 - SMOOTHING**step))
    return result


def suggested(rates: list[float], losses: list[float]) -> tuple[float, float]:
    """Return the rate to train with, and the rate with the lowest loss.

    The first is the rate at which the loss falls fastest against the logarithm of the rate; or a third of the second where
    that is lower, since the loss of a pretrained model may fall fastest one step before it diverges.

    Raises:
        UserError: the loss falls at no rate.
    """
    lowest = int(np.argmin(losses))
    if lowest < 2:
        raise UserError(
            f"find=lr: the loss falls at no rate from {rates[0]:.0e} to {rates[-1]:.0e}, so there is none to suggest.\n"
            "Check the labels and what is frozen; more rows or a larger data.batch_size make the loss less noisy."
        )
    slopes = np.gradient(np.array(losses), np.log(rates))
    steepest = int(np.argmin(slopes[: lowest + 1]))
    return min(rates[steepest], rates[lowest] / MARGIN), rates[lowest]


class RangeTest(Callback):
    """Set the rate of each step, and record its loss."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._micro_batch_losses: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        groups = trainer.optimizers[0].param_groups
        # not every schedule notes it
        highest = max(group.setdefault("initial_lr", group["lr"]) for group in groups)
        rate = rate_at(trainer.global_step)
        for group in groups:
            group["lr"] = rate * (group["initial_lr"] / highest if highest else 1.0)
        if len(self.rates) == trainer.global_step:
            self.rates.append(rate)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._micro_batch_losses.append(float(trainer.callback_metrics["train/loss"]))
        if trainer.global_step < len(self.rates):
            # the step is not complete
            return
        loss = sum(self._micro_batch_losses) / len(self._micro_batch_losses)
        self._micro_batch_losses = []
        if not math.isfinite(loss):
            trainer.should_stop = True
            return
        self.losses.append(loss)
        if smoothed(self.losses)[-1] > DIVERGENCE * self.losses[0]:
            trainer.should_stop = True


def _plot(*, lr: list[float], loss: list[float], smoothed_loss: list[float], suggestion: float, file: Path) -> None:
    matplotlib.use("Agg")
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(lr, loss, ".", color="0.75", label="a step's loss")
    axes.plot(lr, smoothed_loss, color="C0", label="smoothed")
    axes.axvline(suggestion, color="C1", label=f"suggested: {suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.legend()
    figure.savefig(file, dpi=120)
