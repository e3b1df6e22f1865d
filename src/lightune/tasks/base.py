"""What every task shares: the loop from a batch to a loss and to held-out metrics."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MetricCollection

from lightune.common.errors import UserError, nearest
from lightune.models import cpu, unpadded
from lightune.models.pretrained import PretrainedModel
from lightune.models.sharding import shard
from lightune.tasks.held_out import HeldOut
from lightune.tuning.base import check_trainable
from lightune.tuning.optimizer import make_optimizer
from lightune.tuning.recipe import Recipe
from lightune.tuning.trained_only import TrainedOnly

Row = dict[str, Any]
"""What was predicted for a held-out row, and how good that was; numbers, strings and lists, as JSON has them."""

Batch = dict[str, Any]
"""The model's inputs as tensors, ``labels``, and ``rows``: for each row what metrics and predictions need of it."""


class Example(NamedTuple):
    """A generated text beside what it was generated from and what was wanted."""

    source: str
    prediction: str
    reference: str


class Task(LightningModule):
    """A pretrained model under fine-tuning.

    A task gives ``forward``, ``loss`` and ``update``, the metrics, and ``predict_step``;
    the rest is here once. Held-out figures live in torchmetrics objects, so they are exact over
    batches and devices; they stay readable until the next evaluation begins.

    The loss of a step is the mean over all its targets, however they fall into micro-batches and on devices:
    Lightning alone would give each micro-batch the same weight.

    Args:
        model: the pretrained model with its head (``transformers`` returns it in eval mode; it is put
            in training mode here, or dropout would be off for the whole run).
        metrics: computed on validation and on test, each under its own prefix.
        recipe: which weights move, how fast, and after which teacher.
    """

    monitor: tuple[str, str]
    """The metric that chooses the best checkpoint, and ``min`` or ``max``."""

    language_model: bool = False
    """Whether targets are tokens, whose loss is also told as perplexity."""

    encodes_rows: bool = False
    """Whether the model is an encoder that reads the same tokens of a row in each epoch, so that what its frozen layers
    make of a row can be kept."""

    predict_arguments: str = '--text "…"'
    """What ``lightune predict RUN`` is given."""

    label_names: tuple[str, ...] | list[str] = ()
    """What precision and recall are given for, one by one."""

    test_rows: list[Row]
    """What the last test found for each row that this device had, see ``row_results``."""

    examples: tuple[Example, ...] | list[Example] = ()
    """A few generated texts of the last evaluation, to look at."""

    def __init__(
        self,
        *,
        model: nn.Module,
        metrics: MetricCollection,
        recipe: Recipe,
    ) -> None:
        super().__init__()
        self.model: Any = model.train()
        unpadded.remove_padding(self.model)
        tuned = recipe.tuning(self.model)
        cpu.replace_dropout(self.model)
        self.recipe = recipe
        self.val = HeldOut(metrics, stage="val", perplexity=self.language_model)
        self.test = HeldOut(metrics, stage="test", perplexity=self.language_model)
        self.test_rows = []
        self._targets: Tensor | int = 0  # of the micro-batches since the last step
        self._freeze_schedule = tuned.freeze_schedule
        self.encodes_rows = self.encodes_rows and (
            tuned.freeze_schedule is None or tuned.freeze_schedule.probe_lr is not None
        )
        self._trained_only = TrainedOnly(self) if tuned.trained_only else None
        self.strict_loading = not tuned.trained_only  # on_load_checkpoint is

    @classmethod
    def check(cls, pretrained: PretrainedModel) -> None:
        """Look at a model's configuration, before its weights and the data are loaded.

        Raises:
            UserError: the model cannot do this task; says which can.
        """
        raise NotImplementedError

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor | int]:
        """Return the mean loss of a batch and the number of targets that it is the mean of."""
        raise NotImplementedError

    def at_targets(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the logits of each target that the loss is the mean over, (targets, classes)."""
        return logits[batch["labels"] != -100]

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        """Add a held-out batch to the metrics."""
        raise NotImplementedError

    def row_results(self, logits: Tensor, batch: Batch) -> list[Row]:
        """Return what a report says of each row of a held-out batch, which ``update`` has just been given.

        Each has ``loss``, its mean over the row's ``targets``, and what the task's figures are computed from; a task
        without figures of rows returns an empty list.
        """
        return []

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of a batch."""
        logits: Tensor = self.model(**inputs(batch)).logits
        return logits

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self._freeze_schedule is not None:
            self._freeze_schedule.go_to(self.global_step)
            if (rate := self._freeze_schedule.learning_rate()) is not None:
                for group in self.trainer.optimizers[0].param_groups:
                    group["lr"] = rate  # the schedule sets its own after each step
        rate = max(group["lr"] for group in self.trainer.optimizers[0].param_groups)
        self.log("train/learning_rate", rate, batch_size=len(batch["input_ids"]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self(batch)
        loss, targets = self.loss(logits, batch)
        if self.recipe.teacher is not None:
            loss = self.recipe.teacher.distillation_loss(loss, logits, student=self, batch=batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["input_ids"]))
        if not self._several_micro_batches():
            return loss
        self._targets = self._targets + targets
        return loss * targets * self.trainer.accumulate_grad_batches  # Lightning divides by that

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Turn the gradient of a sum, averaged over devices, into that of the mean over all targets."""
        if not self._several_micro_batches():
            return
        count = torch.as_tensor(self._targets, dtype=torch.float32, device=self.device)
        scale = self.trainer.world_size / self.trainer.strategy.reduce(count, reduce_op="sum").clamp(min=1)
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(scale)
        self._targets = 0

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and free the gradients: Lightning would keep them until after the next forward pass."""
        super().optimizer_step(*args, **kwargs)
        self.trainer.optimizers[0].zero_grad()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(self.val, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(self.test, batch)

    def on_validation_epoch_start(self) -> None:
        self.val.reset()

    def on_test_epoch_start(self) -> None:
        self.test.reset()
        self.test_rows = []

    def on_validation_epoch_end(self) -> None:
        figures = self.val.scalars()
        if self.trainer.sanity_checking:
            self._check_monitored(figures)
        self.log_dict(figures)

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.test.scalars())

    def configure_model(self) -> None:
        if self.device_mesh is None:
            return
        if self._trained_only is not None:
            raise UserError(
                "tuning=lora and bitfit keep a part of the weights, trainer=fsdp shares out all of them.\n"
                "Their gradients and optimizer state are small: trainer=ddp"
            )
        shard(self.model, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        recipe, num_steps = self.recipe, self.recipe.num_training_steps(self.trainer)
        optimizer = make_optimizer(recipe.optimizer, self.model, layerwise_lr_decay=recipe.layerwise_lr_decay)
        if self._freeze_schedule is not None:
            self._freeze_schedule.begin(num_steps=num_steps, world_size=self.trainer.world_size)
        check_trainable(self.model)
        scheduler = recipe.scheduler(optimizer, num_training_steps=num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._freeze_schedule is not None:
            self._freeze_schedule.save(checkpoint)
        if self._trained_only is not None:
            self._trained_only.drop_frozen(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._freeze_schedule is not None:
            self._freeze_schedule.load(checkpoint)
        if self._trained_only is not None:
            self._trained_only.check(checkpoint)

    def all_test_rows(self) -> list[Row]:
        """Return ``test_rows`` of all devices, in the order of their split; every device must call this."""
        rows = [list(self.test_rows)]
        if self.trainer.world_size > 1:
            rows = [[]] * self.trainer.world_size
            torch.distributed.all_gather_object(rows, list(self.test_rows))
        return sorted((row for some in rows for row in some), key=lambda row: row["row"])

    def num_parameters(self) -> dict[str, int]:
        """Count the model's parameters, all and trainable."""
        parameters = list(self.model.parameters())
        return {
            "parameters/total": sum(parameter.numel() for parameter in parameters),
            "parameters/trainable": sum(p.numel() for p in parameters if p.requires_grad),
        }

    def mean_frozen_share(self) -> float:
        """Return how much of what is frozen at first stays so, on average over a run; see ``FreezeSchedule``."""
        return 1.0 if self._freeze_schedule is None else self._freeze_schedule.mean_frozen_share()

    def confusion_matrix(self) -> list[list[int]] | None:
        """Return the counts of the last test, rows true and columns predicted, where rows have one label each."""
        return None

    def signatures(self) -> dict[str, str]:
        """Return how metrics were computed, for those that have several ways."""
        return {}

    def _check_monitored(self, figures: dict[str, Tensor]) -> None:
        """Refuse to be watched by what is not measured, before the first epoch instead of after it."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            metric = getattr(callback, "monitor", None)
            if metric is not None and metric not in figures and not metric.startswith("train/"):
                raise UserError(
                    f"monitor.metric={metric}: no such figure is measured.\n{nearest(metric, figures)}"
                )

    def _several_micro_batches(self) -> bool:
        trainer = self._trainer
        return trainer is not None and trainer.world_size * trainer.accumulate_grad_batches > 1

    def _evaluate(self, held_out: HeldOut, batch: Batch) -> None:
        logits = self(batch).float()
        if "filler" in batch:  # this device has no row left, and only kept step with the others
            return
        loss, targets = self.loss(logits, batch)
        held_out.loss.update(loss, weight=targets)
        self.update(held_out.metrics, logits, batch)
        if held_out is self.test and "row_numbers" in batch:
            results = self.row_results(logits, batch)
            numbered = zip(batch["row_numbers"], results, strict=True) if results else ()
            self.test_rows += [{"row": number} | row for number, row in numbered]


def inputs(batch: Batch) -> dict[str, Tensor]:
    """Return what of a batch the model reads."""
    return {
        name: tensor
        for name, tensor in batch.items()
        if name not in {"labels", "rows", "row_numbers", "filler"}
    }


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy over the targets, and their number; without a target the mean is 0.

    Args:
        logits: (…, classes).
        labels: (…) of class indices, -100 where there is no target.
    """
    count = (labels != -100).sum()
    total = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="sum")
    return total / count.clamp(min=1), count


def row_losses(logits: Tensor, labels: Tensor, sizes: list[int] | None = None) -> list[Row]:
    """Return ``loss`` and ``targets`` of each row: the mean cross-entropy over its targets, and their number.

    Args:
        logits: (samples, …, classes).
        labels: (samples, …) of class indices, -100 where there is no target.
        sizes: how many samples, such as windows of a long text, each row has; one where None.
    """
    losses = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="none")
    totals = losses.view(len(labels), -1).sum(dim=1).tolist()
    counts = (labels != -100).view(len(labels), -1).sum(dim=1).tolist()
    found, sample = [], 0
    for size in sizes or [1] * len(labels):
        total, count = sum(totals[sample : sample + size]), sum(counts[sample : sample + size])
        sample += size
        found.append({"loss": total / max(count, 1), "targets": count})
    return found
