import time
from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from lightune.training.callbacks import Throughput

BATCHES = [{"attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])}, {"attention_mask": torch.tensor([[1, 0]])}]


class Slow(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        time.sleep(0.5)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("val_check_interval", [1.0, 0.5])
def test_real_and_computed_tokens_are_counted_and_validation_is_not_training(val_check_interval: float):
    throughput = Throughput()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[throughput],
        val_check_interval=val_check_interval,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    loader = DataLoader(BATCHES, batch_size=None)
    trainer.fit(Slow(), loader, loader)
    found = throughput.summary(trainer)
    seconds = found["train/seconds"]
    assert 0 < seconds < 0.5
    assert found["train/samples_per_second"] * seconds == pytest.approx(2 * 3)
    assert found["train/tokens_per_second"] * seconds == pytest.approx(2 * 7)
    assert found["train/padding_efficiency"] == pytest.approx(7 / 10)
    assert found["train/peak_memory_bytes"] > 10_000_000


def test_the_epoch_is_logged_in_one_line(caplog: pytest.LogCaptureFixture):
    from lightning.pytorch.trainer.states import TrainerFn

    from lightune.training.callbacks import EpochLog

    trainer = SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        sanity_checking=False,
        is_global_zero=True,
        current_epoch=0,
        global_step=7,
        callback_metrics={"train/loss": torch.tensor(0.5), "val/loss": torch.tensor(0.25), "val/f1": torch.tensor(0.9)},
    )
    with caplog.at_level("INFO"):
        EpochLog().on_validation_end(trainer, SimpleNamespace(monitor=("val/f1", "max")))
    assert caplog.messages == ["epoch 1, step 7: train/loss 0.5, val/loss 0.25, val/f1 0.9"]
