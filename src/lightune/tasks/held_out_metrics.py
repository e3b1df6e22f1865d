"""What is measured on a held-out split."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from lightune.common.errors import UserError, nearest
from lightune.tasks.metrics.by_name import ADDED


class MeanLoss(MeanMetric):
    """The mean over all targets; without any it is 0, as a batch's is.

    NaN counts: torchmetrics drops it, or drops the weights with ``nan_strategy="disable"``.
    """

    def update(self, value: Tensor, weight: Tensor | int = 1) -> None:  # type: ignore[override]
        self.mean_value = self.mean_value + value * weight
        self.weight = self.weight + weight

    def compute(self) -> Tensor:
        return self.mean_value / torch.where(self.weight > 0, self.weight, 1)


class HeldOut(nn.Module):
    """The loss and the metrics of one held-out split, named ``STAGE/NAME``, exact over batches and devices.

    ``perplexity`` adds that of a target, ``words`` that of a word, which models of any vocabulary can be compared by.
    """

    def __init__(self, metrics: MetricCollection, *, stage: str, perplexity: bool, words: bool = False) -> None:
        super().__init__()
        self.perplexity = perplexity
        self.word_loss = MeanLoss() if words else None
        self.stage = stage
        self.loss = MeanLoss()
        self.metrics = metrics.clone(prefix=f"{stage}/")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move to a device, and keep the type: in half precision counts would stop at 256."""
        return super()._apply(lambda tensor: fn(tensor).to(tensor.dtype), recurse)  # type: ignore[no-untyped-call]

    def add(self, loss: Tensor, *, targets: Tensor | int, words: int) -> None:
        """Add the mean loss of a batch's targets, which make up so many words."""
        self.loss.update(loss, weight=targets)
        if self.word_loss is not None and words:
            self.word_loss.update(loss * targets / words, weight=words)

    def reset(self) -> None:
        """Forget the rows seen so far."""
        self.loss.reset()
        if self.word_loss is not None:
            self.word_loss.reset()
        self.metrics.reset()

    def compute(self) -> dict[str, Tensor]:
        """Return every figure over the rows of all devices; each device gets the same."""
        loss = self.loss.compute()
        figures = {f"{self.stage}/loss": loss, **self.metrics.compute()}
        figures |= {f"{self.stage}/perplexity": loss.exp()} if self.perplexity else {}
        words = self.word_loss
        return figures | ({} if words is None else {f"{self.stage}/word_perplexity": words.compute().exp()})

    def scalars(self) -> dict[str, Tensor]:
        """Return the figures that are one number, which loggers take; or raise a UserError for one that was added and is not."""
        figures = self.compute()
        for name, metric in self.metrics.items():
            if hasattr(metric, ADDED) and name in figures and getattr(figures[name], "numel", lambda: 0)() != 1:
                raise UserError(f"task.metrics: {name} is not one number, so it cannot be shown. Try average: macro")
        return {
            name: value if value.is_floating_point() else value.float()  # torchmetrics gives some as integers
            for name, value in figures.items()
            if value.numel() == 1
        }


def check_monitored(trainer: Trainer, figures: dict[str, Tensor]) -> None:
    """Refuse to monitor a figure that is not measured, in the sanity check where there is one."""
    monitors = [getattr(callback, "monitor", None) for callback in trainer.callbacks]  # type: ignore[attr-defined]
    asked = [("monitor.metric", metric) for metric in monitors if not str(metric).startswith("train/")]
    asked += [("scheduler_monitor", config.monitor) for config in trainer.lr_scheduler_configs]
    for option, metric in asked:
        if metric is not None and metric not in figures:
            raise UserError(f"{option}={metric}: no such figure is measured.\n{nearest(metric, figures)}")
