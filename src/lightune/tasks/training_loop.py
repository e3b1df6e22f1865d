"""How every task trains and is measured: from a batch to a loss, a step, and held-out metrics."""

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MetricCollection

from lightune.common.errors import UserError, not_finite
from lightune.common.trainer_state import is_fitting
from lightune.models import cpu, padding_free
from lightune.models.model_parts import trainable_parameters
from lightune.models.sharding import hold_whole, shard
from lightune.tasks.batch import Batch, RowResult, inputs
from lightune.tasks.held_out_metrics import HeldOut, check_monitored
from lightune.tasks.losses import cross_entropy
from lightune.tasks.micro_batches import TargetMean
from lightune.tuning.base import check_trainable
from lightune.tuning.optimizer_and_schedule import make_optimizer, make_scheduler, switch
from lightune.tuning.recipe import Recipe
from lightune.tuning.trained_only import TrainedOnly


class TrainingLoop(LightningModule):
    """Train a model by a recipe, and measure it on held-out rows.

    Held-out figures live in torchmetrics objects: exact over batches and devices, readable until the next evaluation.

    Args:
        model: the pretrained model with its head. It is put in training mode: transformers returns it in eval mode, in
            which dropout would be off for the whole run.
        metrics: computed on validation and on test, each under its own prefix.
        recipe: which weights are trained, how fast, and with which teacher.
    """

    language_model: bool = False
    """Whether targets are tokens, so that perplexity is reported beside the loss."""

    streams: bool = False
    """Whether predictions are texts that are generated token by token, as ``Generation`` does."""

    encodes_rows: bool = False
    """Whether an encoder reads the same tokens of a row in each epoch, so that frozen layers' output can be kept."""

    calibration: dict[str, Any] | None = None
    """What the checkpoint that was loaded last was calibrated with, see ``lightune.training.calibrate``."""

    rows: dict[str, list[RowResult]]
    """By stage, ``val`` or ``test``: the results of its last evaluation outside of training, see ``row_results``."""

    def __init__(self, *, model: nn.Module, metrics: MetricCollection, recipe: Recipe) -> None:
        super().__init__()
        self.model: Any = model.train()
        padding_free.remove_padding(self.model)
        tuned = recipe.tuning(self.model)
        cpu.replace_dropout(self.model)
        self.recipe = recipe
        self.val = HeldOut(metrics, stage="val", perplexity=self.language_model, words=self.streams)
        self.test = HeldOut(metrics, stage="test", perplexity=self.language_model, words=self.streams)
        self.rows = {"val": [], "test": []}
        self._keeps_rows = True
        self._target_mean = TargetMean()
        self._freeze_schedule = schedule = tuned.freeze_schedule
        self._compress, self._contrastive = tuned.compress, tuned.contrastive
        if self._contrastive is not None and recipe.teacher is not None:
            raise UserError("tuning=contrastive compares rows, and takes no teacher. Leave distill.teacher out.")
        # counted now: two of four bits share an element
        self._total_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.encodes_rows = self.encodes_rows and (schedule is None or schedule.probe_lr is not None)
        self._trained_only: Any = TrainedOnly(self) if tuned.trained_only else None
        self.strict_loading = not tuned.trained_only  # on_load_checkpoint is

    def targets(self, batch: Batch) -> Tensor:
        """Return the class of each target, -100 where there is none; logits have one dimension more, (…, classes)."""
        labels: Tensor = batch["labels"]
        return labels

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor | int]:
        """Return the mean loss of a batch and the number of targets that it is the mean of; by default cross-entropy."""
        return cross_entropy(logits, self.targets(batch))

    def at_targets(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the logits of each target that the loss is the mean over, (targets, classes)."""
        return logits[self.targets(batch) != -100]

    def num_words(self, batch: Batch) -> int:
        """Count the words of a batch's targets, for a perplexity by word; 0: there is none."""
        return 0

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        """Add a held-out batch to the metrics."""
        raise NotImplementedError

    def row_results(self, logits: Tensor, batch: Batch) -> list[RowResult]:
        """Return the result of each row of a held-out batch, after ``update``.

        A result has ``loss`` and ``targets``, as ``row_losses`` gives them, and what the report's figures are computed from.
        An empty list: the report has no rows to show.
        """
        return []

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of a batch."""
        logits: Tensor = self.model(**inputs(batch)).logits
        return logits

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self._target_mean.start_batch(self.trainer)
        switch(self.trainer.optimizers, "train")
        if self._freeze_schedule is not None:
            self._freeze_schedule.go_to(self.global_step)
        rate = self._probe_lr() or max(group["lr"] for group in self.trainer.optimizers[0].param_groups)
        self.log("train/learning_rate", rate, batch_size=len(batch["input_ids"]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self(batch)
        loss, targets = self.loss(logits, batch)
        if self._contrastive is not None:
            loss, targets = self._contrastive.loss(batch["labels"]), len(batch["labels"])
        if (teacher := self.recipe.teacher) is not None:
            own, labels = self.at_targets(logits, batch), self.targets(batch)
            loss, targets = teacher.distillation_loss(loss, own, labels=labels, batch=batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["input_ids"]))
        return self._target_mean.sum(loss, targets)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self._target_mean.scale_gradients(self)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and free the gradients: Lightning would keep them until after the next forward pass."""
        optimizer, probe_lr = self.trainer.optimizers[0], self._probe_lr()
        # given back after the step: a schedule may go on from them
        rates = [(group, group["lr"]) for group in optimizer.param_groups if probe_lr is not None]
        for group, _ in rates:
            group["lr"] = probe_lr
        super().optimizer_step(*args, **kwargs)
        for group, rate in rates:
            group["lr"] = rate
        optimizer.zero_grad()

    def _probe_lr(self) -> float | None:
        return None if self._freeze_schedule is None else self._freeze_schedule.learning_rate()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(self.val, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(self.test, batch)

    def on_validation_epoch_start(self) -> None:
        self._begin(self.val)

    def on_test_epoch_start(self) -> None:
        self._begin(self.test)

    def on_validation_epoch_end(self) -> None:
        figures = self._end(self.val)
        check_monitored(self.trainer, figures)
        self.log_dict(figures)
        for config in self.trainer.lr_scheduler_configs if is_fitting(self.trainer) else ():
            if config.monitor is not None:
                config.scheduler.step(metrics=float(figures[config.monitor]))  # type: ignore[call-arg]

    def on_validation_model_eval(self) -> None:
        if is_fitting(self.trainer):
            switch(self.trainer.optimizers, "eval")
        super().on_validation_model_eval()

    def on_fit_start(self) -> None:
        self._keeps_rows = False

    def on_fit_end(self) -> None:
        self._keeps_rows = True

    def on_train_end(self) -> None:
        switch(self.trainer.optimizers, "eval")

    def on_test_epoch_end(self) -> None:
        self.log_dict(self._end(self.test))

    def compress_frozen(self, precision: str | int) -> None:
        """Hold the frozen weights as the tuning asks, before the model computes in a resolved precision."""
        if self._compress is not None:
            self._compress(self.model, precision)

    def configure_model(self) -> None:
        self.compress_frozen(self.trainer.precision)
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        if self._contrastive is not None:
            self._contrastive.begin(world_size=self.trainer.world_size)
        recipe, num_steps = self.recipe, self.recipe.num_training_steps(self.trainer)
        optimizer = make_optimizer(recipe.optimizer, self.model, layerwise_lr_decay=recipe.layerwise_lr_decay)
        if self._freeze_schedule is not None:
            self._freeze_schedule.begin(num_steps=num_steps, world_size=self.trainer.world_size)
        check_trainable(self.model)
        interval, epochs = recipe.scheduler_interval, self.trainer.max_epochs or -1
        length = epochs if interval == "epoch" and epochs > 0 else num_steps
        scheduler = make_scheduler(
            recipe.scheduler, optimizer, interval=interval, monitor=recipe.scheduler_monitor, length=length
        )
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for part in filter(None, (self._freeze_schedule, self._trained_only)):
            part.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.calibration = checkpoint.get("calibration")
        for part in filter(None, (self._freeze_schedule, self._trained_only)):
            part.load(checkpoint)

    def thaw(self) -> None:
        """Train from the first step on what a schedule would freeze before the last."""
        self._freeze_schedule = None

    def all_rows(self, stage: str) -> list[RowResult]:
        """Return ``rows`` of a stage on all devices, in the order of their split; every device must call this."""
        rows = [list(self.rows[stage])]
        if self.trainer.world_size > 1:
            rows = [[]] * self.trainer.world_size
            torch.distributed.all_gather_object(rows, list(self.rows[stage]))
        return sorted((row for of_device in rows for row in of_device), key=lambda row: row["row"])

    def num_parameters(self) -> dict[str, int]:
        """Count the model's parameters, all and trainable."""
        trainable = sum(parameter.numel() for parameter in trainable_parameters(self.model))
        return {"parameters/total": self._total_parameters, "parameters/trainable": trainable}

    def mean_frozen_share(self) -> float:
        """Return the share of the frozen weights that stays frozen, on average over a run; see ``FreezeSchedule``."""
        return 1.0 if self._freeze_schedule is None else self._freeze_schedule.mean_frozen_share()

    def _end(self, held_out: HeldOut) -> dict[str, Tensor]:
        """Return the figures of a split; raise a NotFiniteError where the loss is infinite or NaN."""
        hold_whole(self.model, whole=False)
        figures = held_out.scalars()
        name = f"{held_out.stage}/loss"
        if not figures[name].isfinite():
            what = f"{name} is {figures[name].item()} after step {self.trainer.global_step}."
            raise not_finite(what, optimizers=self.trainer.optimizers)
        return figures

    def _begin(self, held_out: HeldOut) -> None:
        hold_whole(self.model, whole=self.streams)
        if self._contrastive is not None and is_fitting(self.trainer):
            self._contrastive.fit_head(self)
        held_out.reset()
        self.rows[held_out.stage] = []

    def _evaluate(self, held_out: HeldOut, batch: Batch) -> None:
        logits = self(batch) if self.language_model else self(batch).float()  # a vocabulary's would be too large
        if "filler" in batch:  # this device has no row left, and only keeps step with the others
            return
        loss, targets = self.loss(logits, batch)
        held_out.add(loss, targets=targets, words=self.num_words(batch))
        self.update(held_out.metrics, logits, batch)
        if "row_numbers" in batch and self._keeps_rows:
            results = self.row_results(logits, batch)
            numbered = zip(batch["row_numbers"], results, strict=True) if results else ()
            self.rows[held_out.stage] += [{"row": number} | row for number, row in numbered]
