"""The progress bar."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn

UNITS = {"train/loss": "", "train/samples_per_second": " samples/s", "train/tokens_per_second": " tok/s"}


class ProgressBar(RichProgressBar):
    """Lightning's Rich progress bar, in one line of a terminal of 80 columns."""

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        bar = BarColumn(bar_width=5)
        return [TextColumn("{task.description}"), bar, MofNCompleteColumn(), TimeRemainingColumn()]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        texts = [_short(metrics[name]) + unit for name, unit in UNITS.items() if name in metrics]
        if "train/padding_efficiency" in metrics:
            texts.append(f"{float(metrics['train/padding_efficiency']):.0%} real")
        return {"loss": " ".join(texts)} if texts else {}


def _short(value: Any) -> str:
    number = float(value)
    return f"{number / 1000:.3g}k" if number >= 1000 else f"{number:.3g}"
