"""End a run that cannot succeed, with a message that says how to fix it."""

import re
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor

from lightune.common.errors import UserError, listed, not_finite

OUT_OF_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)


class FailFast(Callback):
    """Stop all devices at the first infinite or NaN loss, before it reaches a checkpoint; explain an out-of-memory error.

    On a GPU the loss of a step is checked after the next step was launched, so that the device never waits.
    """

    def __init__(self) -> None:
        # losses, step, epoch, batch index of the last step that is not checked yet
        self._unchecked: tuple[Tensor, int, int, int] | None = None
        self._batch_shape = torch.Size((0, 0))

    def on_train_batch_start(self, trainer: Trainer, _: Any, batch: Any, batch_idx: int) -> None:
        self._batch_shape = batch["input_ids"].shape

    def on_train_batch_end(self, trainer: Trainer, _: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._check_loss(trainer)
        # of all devices: one that ended alone would leave the others waiting
        losses = outputs["loss"].detach().repeat(trainer.world_size)
        if trainer.world_size > 1:
            torch.distributed.all_gather(list(losses.split(1)), losses[:1].clone())
        self._unchecked = (losses, trainer.global_step, trainer.current_epoch, batch_idx)
        if losses.device.type == "cpu":
            self._check_loss(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_loss(trainer)

    on_train_epoch_end = on_validation_start

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check_loss(trainer)
        # a finite loss may have an infinite gradient
        weights = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in pl_module.parameters()]
        broken = torch.stack([~weight.isfinite().all() for weight in weights]).any()
        if trainer.strategy.reduce(broken.float(), reduce_op="sum"):
            what = f"Some weights are infinite or NaN after step {trainer.global_step}."
            raise not_finite(what, optimizers=trainer.optimizers)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        is_out_of_memory = isinstance(exception, torch.OutOfMemoryError | MemoryError) or (
            isinstance(exception, RuntimeError) and OUT_OF_MEMORY.search(str(exception))
        )
        if not is_out_of_memory:
            return
        rows, length = self._batch_shape
        raise UserError(
            f"Memory ran out near step {trainer.global_step + 1}, in a batch of {rows} rows of {length} tokens.\n"
            "Lower data.batch_size (and raise trainer.accumulate_grad_batches by the same factor to keep the effective batch),\n"
            "or data.max_length, or set data.max_tokens_per_batch; tuning=frozen and trainer.precision=bf16-mixed need less."
        ) from exception

    def _check_loss(self, trainer: Trainer) -> None:
        if self._unchecked is None:
            return
        losses, step, epoch, batch_idx = self._unchecked
        self._unchecked = None
        if losses.isfinite().all():
            return
        rank = int(losses.isfinite().logical_not().nonzero()[0])
        rows = trainer.datamodule.rows_of_batch(batch_idx, epoch=epoch)  # type: ignore[attr-defined]
        rows = trainer.strategy.broadcast(rows, src=rank)
        numbers = listed(row + 1 for row in rows)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        step_was = f"at step {step}, epoch {epoch + 1}, learning rate {rate:.3g}. Training rows: {numbers}."
        raise not_finite(f"The loss was {losses[rank].item()} {step_was}", optimizers=trainer.optimizers)
