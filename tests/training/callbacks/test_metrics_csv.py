"""metrics.csv of a killed run continues at its checkpoint."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightune.training.callbacks import MetricsCSV


def trainer(step: int, **metrics: float) -> SimpleNamespace:
    found = {name.replace("_", "/", 1): torch.tensor(value) for name, value in metrics.items()}
    return SimpleNamespace(is_global_zero=True, current_epoch=0, global_step=step, callback_metrics=found)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_after_the_checkpoint_are_dropped_and_columns_are_added(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    log = MetricsCSV(path)
    log.on_train_start(trainer(0), None)
    log._add(trainer(1, train_loss=0.5), "train/")
    state = log.state_dict()
    # after the checkpoint: lost with the process
    log._add(trainer(2, train_loss=0.25), "train/")
    with path.open("a") as file:
        # half a row
        file.write("0,3,0.1")

    resumed = MetricsCSV(path)
    resumed.load_state_dict(state)
    resumed.on_train_start(trainer(1), None)
    resumed._add(trainer(2, train_loss=0.25), "train/")
    resumed._add(trainer(2, val_loss=0.75), "val/")
    assert rows(path) == [
        {"epoch": "0", "step": "1", "train/loss": "0.5", "val/loss": ""},
        {"epoch": "0", "step": "2", "train/loss": "0.25", "val/loss": ""},
        {"epoch": "0", "step": "2", "train/loss": "", "val/loss": "0.75"},
    ]


def test_what_callbacks_log_is_written(train_here: Callable[..., Any], reviews: Path, tmp_path: Path):
    watch = [
        f"+callbacks.{name}._target_=lightning.pytorch.callbacks.{name}"
        for name in ("LearningRateMonitor", "DeviceStatsMonitor")
    ]
    train_here(
        "data=local", f"data.path={reviews}", "data.batch_size=8", "trainer.max_epochs=2", "trainer.log_every_n_steps=4",
        *watch, "+callbacks.DeviceStatsMonitor.cpu_stats=true",
    )  # fmt: skip
    steps = [row for row in rows(tmp_path / "run" / "metrics.csv") if row["train/loss"]]
    assert [row["step"] for row in steps] == [str(step) for step in range(4, 28, 4)][: len(steps)]
    for row in steps:
        assert float(row["lr-AdamW/pg1"]) == pytest.approx(float(row["train/learning_rate"]))
        assert float(row["DeviceStatsMonitor.on_train_batch_end/cpu_vm_percent"]) > 0
    assert not (tmp_path / "run" / "lightning_logs").exists()
