"""metrics.csv of a killed run continues at its checkpoint."""

import csv
from pathlib import Path
from types import SimpleNamespace

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
