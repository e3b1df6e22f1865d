"""Training that cannot go on ends at once, and says what a person needs to mend it."""

import re
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightune.common.errors import NotFiniteError, UserError

NO_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)
SHOWN = 8  # rows of a batch


class FailFast(Callback):
    """Stop at the first loss that is infinite or not a number, before a checkpoint is made of it; explain a lack of memory.

    On a GPU the loss of a step is looked at when the next has been sent on its way, so that the device need not wait.
    """

    def __init__(self) -> None:
        self._unseen: tuple[Tensor, int, int, int] | None = None  # loss, step, epoch, batch
        self._shape: torch.Size | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._shape = batch["input_ids"].shape

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"]
        self._look(trainer)
        self._unseen = (loss, trainer.global_step, trainer.current_epoch, batch_idx)
        if loss.device.type == "cpu":
            self._look(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        lacks = isinstance(exception, torch.OutOfMemoryError | MemoryError) or (
            isinstance(exception, RuntimeError) and NO_MEMORY.search(str(exception))
        )
        if not lacks:
            return
        rows, length = self._shape or (0, 0)
        raise UserError(
            f"Memory ran out near step {trainer.global_step + 1}, where a batch had {rows} rows of {length} tokens.\n"
            "Lower data.batch_size (and raise trainer.accumulate_grad_batches as much: the same effective batch),\n"
            "or data.max_length, or set data.max_tokens_per_batch; tuning=frozen and trainer.precision=bf16-mixed need less."
        ) from exception

    def _look(self, trainer: Trainer) -> None:
        if self._unseen is None:
            return
        loss, step, epoch, batch_idx = self._unseen
        self._unseen = None
        if torch.isfinite(loss):
            return
        rows = trainer.datamodule.rows_of_batch(batch_idx, epoch=epoch)  # type: ignore[attr-defined]
        shown = ", ".join(str(row + 1) for row in rows[:SHOWN]) + (", …" if len(rows) > SHOWN else "")
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        raise NotFiniteError(
            f"The loss was {loss.item()} at step {step}, epoch {epoch + 1}, learning rate {rate:.3g}. Training rows: {shown}.\n"
            f"The run has ended; its best checkpoint so far is as it was. A lower learning rate often helps:\n"
            f"optimizer.lr={rate / 3:.1g}, or a longer scheduler.warmup_ratio, or trainer.precision=32-true"
        )
