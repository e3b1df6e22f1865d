"""A run that was killed and resumed ends as one that was never stopped, to the last bit."""

import csv
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, command, write_reviews

TIMED = ("per_second", "seconds", "peak_memory")
KILLER = """
import os, signal
from lightning import Callback

class Kill(Callback):
    def __init__(self, *, batch: int, epoch: int, number: int = 9, rank: int = 0, validation: bool = False):
        self.at, self.number, self.rank, self.validation = (epoch, batch), number, rank, validation
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if not self.validation and (trainer.current_epoch, batch_idx) == self.at:
            self.kill(trainer)
    def on_validation_batch_start(self, trainer, *_):
        if self.validation and not trainer.sanity_checking and trainer.current_epoch == self.at[0]:
            self.kill(trainer)
    def kill(self, trainer):
        if trainer.global_rank == self.rank:
            if self.number == 0:
                raise RuntimeError("planned")
            os.kill(os.getpid(), self.number)
"""
START = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> START:
    """Run ``train.py`` in a folder, on 121 rows with dropout; ``kill`` ends it at a batch of an epoch."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "killer.py").write_text(KILLER)
    write_reviews(folder / "reviews.csv", 121)

    def run(
        run_dir: Path, *overrides: str, kill: dict[str, Any] | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        arguments = [
            "data=local",
            f"data.path={folder / 'reviews.csv'}",
            f"model.pretrained_model_name_or_path='{tiny_bert}'",
            "data.max_length=32",
            "data.batch_size=8",
            "optimizer.lr=1e-3",
            "trainer=cpu",
            "trainer.precision=32-true",
            "trainer.max_epochs=2",
            "trainer.log_every_n_steps=1",
            f"hydra.run.dir='{run_dir}'",
            *overrides,
        ]
        if kill is not None:
            arguments.append("+callbacks.kill._target_=killer.Kill")
            arguments += [f"+callbacks.kill.{name}={value}" for name, value in kill.items()]
        env = {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", **env}
        return command(str(ROOT / "train.py"), *arguments, FINETUNE_ALLOWED_TARGETS="killer", **env)

    return run


def resume(run_dir: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return command("-m", "finetune.cli", "resume", str(run_dir), *overrides)


def ended(run_dir: Path) -> dict[str, Any]:
    """Return all that a run ended with, but for what a clock measured."""
    checkpoints = {}
    for name in ("last", "best"):
        found = torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)
        for counts in found["throughput"].values():
            del counts[0]  # seconds
        for state in found["callbacks"].values():
            for key in [key for key in state if any(word in key for word in FORGOTTEN)]:
                del state[key]
        checkpoints[name] = {
            key: value for key, value in found.items() if key in CHECKED or key in ("epoch", "global_step")
        }
    with (run_dir / "metrics.csv").open() as file:
        rows = [
            {name: value for name, value in row.items() if not any(word in name for word in TIMED)}
            for row in csv.DictReader(file)
        ]
    figures = json.loads((run_dir / "metrics.json").read_text())
    figures = {name: value for name, value in figures.items() if not any(word in name for word in TIMED)}
    return {"checkpoints": checkpoints, "metrics.csv": rows, "metrics.json": figures}


FORGOTTEN = (
    "path",
    "dir",
    "k_models",
    "current_score",
)  # where the run lies; what Lightning does not read back
CHECKED = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "throughput", "should_stop")


def assert_same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def reference(start: START, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """What a run under some settings ends with when nothing stops it, computed once."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}

    def run(*overrides: str) -> dict[str, Any]:
        if overrides not in found:
            folder = tmp_path_factory.mktemp("reference") / "run"
            done = start(folder, *overrides)
            assert done.returncode == 0, done.stderr
            found[overrides] = ended(folder)
        return found[overrides]

    return run


SETTINGS = {
    "workers": {"0": [], "2": ["data.num_workers=2"]},
    "accumulation": {"1": [], "3": ["trainer.accumulate_grad_batches=3"]},
    "ranks": {
        "1": [],
        "2": ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=4"],
    },
}
KILLS = {
    "mid-epoch": [{"epoch": 1, "batch": 7}],
    "epoch end": [{"epoch": 1, "batch": 0}],
    "twice in an epoch": [{"epoch": 0, "batch": 4}, {"epoch": 0, "batch": 10}],
    "in validation": [{"epoch": 0, "batch": 0, "validation": True}],
}


def check(start: START, reference: Any, folder: Path, kills: list[dict[str, Any]], *settings: str) -> None:
    expected = reference(*settings)
    asked = "callbacks.last.every_minutes=0"
    done = start(folder, *settings, asked, kill=kills[0])
    assert done.returncode == 128 + 9 or done.returncode == -9, done.stderr
    for kill in kills[1:]:
        done = start(folder, *settings, asked, f"resume='{folder}'", kill=kill)
        assert done.returncode in (137, -9), done.stderr
    done = start(folder, *settings, asked, f"resume='{folder}'")
    assert done.returncode == 0, done.stderr
    assert_same(ended(folder), expected)


@pytest.mark.matrix
@pytest.mark.parametrize("ranks", SETTINGS["ranks"])
@pytest.mark.parametrize("accumulation", SETTINGS["accumulation"])
@pytest.mark.parametrize("workers", SETTINGS["workers"])
@pytest.mark.parametrize("when", KILLS)
def test_killed_and_resumed_is_as_never_stopped(
    start: START, reference: Any, tmp_path: Path, when: str, workers: str, accumulation: str, ranks: str
):
    chosen = {"workers": workers, "accumulation": accumulation, "ranks": ranks}
    settings = [override for name, value in chosen.items() for override in SETTINGS[name][value]]
    check(start, reference, tmp_path / "run", KILLS[when], *settings)
