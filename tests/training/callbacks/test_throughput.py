import time
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.parametrize("val_check_interval", [1.0, 0.5])
def test_tokens_are_counted_and_validation_time_is_left_out(val_check_interval: float):
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
    figures = throughput.summary(trainer)
    seconds = figures["train/seconds"]
    assert 0 < seconds < 0.5
    assert figures["train/samples_per_second"] * seconds == pytest.approx(2 * 3)
    assert figures["train/tokens_per_second"] * seconds == pytest.approx(2 * 7)
    assert figures["train/padding_efficiency"] == pytest.approx(7 / 10)
    assert figures["train/peak_memory_bytes"] > 10_000_000


def test_padding_that_is_skipped_is_not_counted(train_here, reviews: Path, kernel: list[int]):
    """On a CPU that has a stand-in for the GPU's kernel."""
    metrics = train_here("data=local", f"data.path={reviews}", "data.batch_size=8", "trainer.max_epochs=1")
    assert kernel, "the kernel computed the rows"
    assert metrics["train/padding_efficiency"] == 1


def test_padding_is_counted_where_it_is_computed(train_here, reviews: Path):
    metrics = train_here("data=local", f"data.path={reviews}", "data.batch_size=8", "trainer.max_epochs=1")
    assert metrics["train/padding_efficiency"] < 1
