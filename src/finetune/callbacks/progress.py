"""The progress bar: time left, loss, and samples a second."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

SHORT = {"train/loss": "loss", "train/samples_per_second": "samples/s"}


class ProgressBar(RichProgressBar):
    """Lightning's Rich progress bar with names short enough for a terminal of 80 columns."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        return {short: f"{float(metrics[name]):.3g}" for name, short in SHORT.items() if name in metrics}
