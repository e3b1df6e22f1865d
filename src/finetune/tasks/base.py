"""What every task shares: the loop from a batch to a loss and to held-out metrics."""

from collections.abc import Callable
from typing import Any

from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, MetricCollection

from finetune.optim import parameter_groups

Batch = dict[str, Tensor]


class Task(LightningModule):
    """A pretrained model under fine-tuning.

    A task gives :meth:`forward`, :meth:`loss` and :meth:`update`, the metrics, and ``predict_step``;
    the rest is here once. Held-out figures live in torchmetrics objects, so they are exact over
    batches and devices; they stay readable until the next evaluation begins.

    Args:
        model: the pretrained model with its head (``transformers`` returns it in eval mode; it is put
            in training mode here, or dropout would be off for the whole run).
        metrics: computed on validation and on test, each under its own prefix.
        tuning: chooses which weights move.
        optimizer: makes an optimizer of parameter groups.
        scheduler: makes a schedule of an optimizer and ``num_training_steps``.
    """

    monitor: tuple[str, str]
    """The metric that chooses the best checkpoint, and ``min`` or ``max``."""

    num_training_steps: int
    """Optimizer steps in the whole run: set it before ``fit``, the schedule spans it."""

    def __init__(
        self,
        *,
        model: nn.Module,
        metrics: MetricCollection,
        tuning: Callable[[nn.Module], None],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
    ) -> None:
        super().__init__()
        self.model: Any = model.train()
        tuning(self.model)
        self._optimizer = optimizer
        self._scheduler = scheduler
        self.val = HeldOut(metrics, stage="val")
        self.test = HeldOut(metrics, stage="test")

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Return the mean loss of a batch and the number of targets that it is the mean of."""
        raise NotImplementedError

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        """Add a held-out batch to the metrics."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of a batch."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        logits: Tensor = self.model(**inputs).logits
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss, targets = self.loss(self(batch), batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=targets)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(self.val, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(self.test, batch)

    def on_validation_epoch_start(self) -> None:
        self.val.reset()

    def on_test_epoch_start(self) -> None:
        self.test.reset()

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val.scalars())

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.test.scalars())

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(parameter_groups(self.model))
        scheduler = self._scheduler(optimizer, num_training_steps=self.num_training_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def num_parameters(self) -> dict[str, int]:
        """Count the model's parameters, all and trainable."""
        parameters = list(self.model.parameters())
        return {
            "parameters/total": sum(parameter.numel() for parameter in parameters),
            "parameters/trainable": sum(p.numel() for p in parameters if p.requires_grad),
        }

    def _evaluate(self, held_out: "HeldOut", batch: Batch) -> None:
        logits = self(batch).float()
        loss, targets = self.loss(logits, batch)
        held_out.loss.update(loss, weight=targets)
        self.update(held_out.metrics, logits, batch)


class HeldOut(nn.Module):
    """The loss and the metrics of one held-out split, named ``STAGE/NAME``, exact over batches and devices."""

    def __init__(self, metrics: MetricCollection, *, stage: str) -> None:
        super().__init__()
        self.stage = stage
        self.loss = MeanMetric()
        self.metrics = metrics.clone(prefix=f"{stage}/")

    def reset(self) -> None:
        """Forget the rows seen so far."""
        self.loss.reset()
        self.metrics.reset()

    def compute(self) -> dict[str, Tensor]:
        """Return every figure over the rows of all devices; each device gets the same."""
        return {f"{self.stage}/loss": self.loss.compute(), **self.metrics.compute()}

    def scalars(self) -> dict[str, Tensor]:
        """Return the figures that are one number, which loggers take."""
        return {name: value for name, value in self.compute().items() if value.numel() == 1}
