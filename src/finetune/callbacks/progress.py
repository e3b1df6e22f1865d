"""The progress bar: time left, loss, and how quickly it goes."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

SHORT = {
    "train/loss": "loss",
    "train/samples_per_second": "samples/s",
    "train/tokens_per_second": "tokens/s",
    "train/padding_efficiency": "not padding",
}


class ProgressBar(RichProgressBar):
    """Lightning's Rich progress bar with names short enough for a terminal of 80 columns."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        return {short: _rounded(float(metrics[name])) for name, short in SHORT.items() if name in metrics}


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
