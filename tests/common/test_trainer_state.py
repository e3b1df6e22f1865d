"""Lightning's private attributes mean what ``trainer_state`` takes them for."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from lightune.common import trainer_state


class Recorder(Callback):
    def __init__(self) -> None:
        self.steps: list[tuple[bool, bool]] = []
        self.fitting: dict[str, set[bool]] = {"train": set(), "sanity": set(), "val": set()}

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.steps.append((trainer_state.completes_step(trainer), trainer_state.validation_follows(trainer)))
        self.fitting["train"].add(trainer_state.is_fitting(trainer))

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self.fitting["sanity" if trainer.sanity_checking else "val"].add(trainer_state.is_fitting(trainer))


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_steps_and_validations_are_told_apart():
    """Seven batches, two to a step, a validation after each three."""
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=2,
        val_check_interval=3,
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    batches = DataLoader(range(7), batch_size=1)
    module = Module()
    trainer.fit(module, batches, batches)
    assert [completes for completes, _ in recorder.steps] == [False, True, False, True, False, True, True]
    assert [follows for _, follows in recorder.steps] == [False, False, True, False, False, True, True]
    assert recorder.fitting == {"train": {True}, "sanity": {False}, "val": {True}}
    trainer.validate(module, batches, verbose=False)
    assert recorder.fitting["val"] == {True, False}
