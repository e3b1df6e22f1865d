"""Which learning rate: the range test of Smith (2017)."""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightune.common.errors import UserError

STEPS = 100
LEAST, MOST = 1e-7, 1e-1
SMOOTHING = 0.9
MARGIN = 3.0
DIVERGED = 2.0  # times the first loss


def check_plotting() -> None:
    """Look for what draws the plot.

    Raises:
        UserError: it is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UserError(
            "find=lr draws its plot with matplotlib, which is not installed: pip install matplotlib"
        )


def test_range(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train a hundred steps, each at a higher rate than the one before, and forget them.

    Layers keep the rates that they have to each other (``layerwise_lr_decay``), and a step is what it is in the run,
    accumulation and all: Lightning's own finder gives every group one rate and reads the loss of a micro-batch.

    Args:
        config: resolved.
        folder: where ``lr_find.png`` is written.

    Raises:
        UserError: the loss falls nowhere.
    """
    from lightune.training.callbacks import CacheFrozenLayers, FailFast
    from lightune.training.plan import setup

    cfg, (_, data, task) = setup.load(config)
    test = _range_test()
    # Trouble would end what is meant to diverge; frozen layers need not be kept for a hundred steps
    made = [*setup.callbacks(cfg, without=(CacheFrozenLayers, FailFast)), test]
    trainer = setup.trainer(cfg, callbacks=made, max_epochs=-1, max_steps=STEPS)
    trainer.fit(task, data)
    smooth = smoothed(test.losses)
    found: dict[str, Any] = {"lr": test.rates[: len(smooth)], "loss": test.losses, "smoothed_loss": smooth}
    found["suggestion"], found["least_at"] = suggested(found["lr"], smooth)
    _plot(found, folder / "lr_find.png")
    return found


def rate_at(step: int) -> float:
    """Return the rate of a step, evenly on a logarithmic scale."""
    return float(LEAST * (MOST / LEAST) ** (step / (STEPS - 1)))


def smoothed(losses: list[float]) -> list[float]:
    """Return the exponential mean of the losses so far, corrected for its start at 0."""
    mean = 0.0
    found: list[float] = []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**step))
    return found


def suggested(rates: list[float], losses: list[float]) -> tuple[float, float]:
    """Return the rate to train with, and the one at which losses are least.

    It is the one at which they fall fastest against its logarithm; but a third of where they are least where that is
    lower, for a pretrained model's loss may fall fastest a step before it diverges.

    Raises:
        UserError: they fall nowhere.
    """
    import numpy as np

    least = int(np.argmin(losses))
    if least < 2:
        raise UserError(
            f"find=lr: the loss falls at no rate from {rates[0]:.0e} to {rates[-1]:.0e}, so there is none to suggest.\n"
            "Look at the labels and at what is frozen; more rows or a larger data.batch_size make the loss steadier."
        )
    slopes = np.gradient(np.array(losses), np.log(rates))
    steepest = int(np.argmin(slopes[: least + 1]))
    return min(rates[steepest], rates[least] / MARGIN), rates[least]


def _range_test() -> Any:
    from lightning import Callback

    class RangeTest(Callback):
        """Set each step's rate, and note its loss."""

        def __init__(self) -> None:
            self.rates: list[float] = []
            self.losses: list[float] = []
            self._parts: list[float] = []  # losses of micro-batches

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            groups = trainer.optimizers[0].param_groups
            most = max(group["initial_lr"] for group in groups)
            rate = rate_at(trainer.global_step)
            for group in groups:
                group["lr"] = rate * (group["initial_lr"] / most if most else 1.0)
            if len(self.rates) == trainer.global_step:
                self.rates.append(rate)

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            self._parts.append(float(trainer.callback_metrics["train/loss"]))
            if trainer.global_step < len(self.rates):
                return  # of a step that is not whole yet
            loss = sum(self._parts) / len(self._parts)
            self._parts = []
            if not math.isfinite(loss):
                trainer.should_stop = True
                return
            self.losses.append(loss)
            if smoothed(self.losses)[-1] > DIVERGED * self.losses[0]:
                trainer.should_stop = True

    return RangeTest()


def _plot(found: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(found["lr"], found["loss"], ".", color="0.75", label="a step's loss")
    axes.plot(found["lr"], found["smoothed_loss"], color="C0", label="smoothed")
    axes.axvline(found["suggestion"], color="C1", label=f"suggested: {found['suggestion']:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.legend()
    figure.savefig(file, dpi=120)
