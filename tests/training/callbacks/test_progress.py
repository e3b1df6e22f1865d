from types import SimpleNamespace

import torch
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress

from lightune.training.callbacks import ProgressBar


def test_the_bar_fits_into_80_columns(monkeypatch):
    metrics = {
        "train/loss": torch.tensor(0.192),
        "train/samples_per_second": 241.3,
        "train/tokens_per_second": torch.tensor(7240.1),
        "train/padding_efficiency": 0.984,
    }
    monkeypatch.setattr("lightning.pytorch.callbacks.RichProgressBar.get_metrics", lambda *_: metrics)
    bar = ProgressBar()
    [(name, value)] = bar.get_metrics(SimpleNamespace(), None).items()
    assert f"{name}: {value}" == "loss: 0.192 241 samples/s 7.24k tok/s 98% real"
    console = Console(width=200)
    progress = Progress(*bar.configure_columns(SimpleNamespace()), console=console)
    progress.add_task("Epoch 1/2", total=253, completed=47)
    with console.capture() as captured:
        console.print(progress)
    assert cell_len(captured.get().strip()) + 1 + len(f"{name}: {value}") <= 80
