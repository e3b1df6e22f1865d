"""A killed sweep continues where it was; a failed trial does not affect the others."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TRAIN, command, write_reviews

pytestmark = pytest.mark.slow

BREAKER = """
import json, math, os, signal
from pathlib import Path
from lightning import Callback

class Break(Callback):
    '''Break a trial at its second batch as $BREAK says for its number; record each trial that ends.'''
    def __init__(self, *, run_dir):
        self.folder = Path(run_dir)
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        what = json.loads(os.environ.get("BREAK", "{}")).get(self.folder.name)
        if batch_idx == 1 and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if batch_idx == 1 and what == "fail":
            raise RuntimeError("planned\\nsecond line")
        if batch_idx == 1 and what == "nan":
            for weight in module.parameters():
                weight.data.fill_(math.nan)
    def on_test_end(self, trainer, module):
        with (self.folder.parent / "ended").open("a") as file:
            file.write(self.folder.name + "\\n")
"""
Started = Callable[..., list[str]]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Started:
    """Return the arguments of ``python`` for a sweep of tiny trials in a folder."""
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "breaker.py").write_text(BREAKER)
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    write_reviews(folder / "reviews.csv", 60)

    def build(sweep: Path, *overrides: str) -> list[str]:
        return [
            *(TRAIN, "-m", f"hydra.sweep.dir='{sweep}'"),
            *("data=local", f"data.path={folder / 'reviews.csv'}", "data.max_length=16", "data.batch_size=8"),
            *(f"model.pretrained_model_name_or_path='{tiny_bert}'", "trainer=cpu", "trainer.precision=32-true"),
            *("trainer.max_steps=4", "report=false", "callbacks.last.every_minutes=0", "~callbacks.progress_bar"),
            *("+callbacks.break._target_=breaker.Break", "'+callbacks.break.run_dir=${run_dir}'".strip("'")),
            *overrides,
        ]

    return build


def run(arguments: list[str], **broken: str) -> subprocess.CompletedProcess[str]:
    return command(*arguments, **environment(**broken))


def environment(**broken: str) -> dict[str, str]:
    what = {number.strip("_"): what for number, what in broken.items()}
    return {"LIGHTUNE_ALLOWED_TARGETS": "breaker", "BREAK": json.dumps(what)}


def states(sweep: Path) -> dict[int, str]:
    trials = [json.loads(file.read_text()) for file in sweep.glob("*/trial.json")]
    return {trial["number"]: trial["state"] for trial in sorted(trials, key=lambda trial: trial["number"])}


def ended(sweep: Path) -> list[str]:
    return sorted((sweep / "ended").read_text().split())


def times(sweep: Path, *numbers: int) -> list[tuple[str, int]]:
    files = [file for number in numbers for file in sorted((sweep / str(number)).rglob("*")) if file.is_file()]
    return [(str(file), file.stat().st_mtime_ns) for file in files if file.name != "trial.lock"]


def test_a_grid_killed_in_its_fifth_trial_continues(arguments: Started, tmp_path: Path):
    sweep = tmp_path / "grid sweep"
    command_line = arguments(sweep, "optimizer.lr=1e-3,2e-3,3e-3,4e-3", "seed=0,1")
    first = run(command_line, _1="fail", _2="nan", _4="kill")
    assert first.returncode == -9, first.stdout + first.stderr
    assert list(states(sweep).values()) == ["finished", "failed", "nan", "finished", "running", *["waiting"] * 3]
    before = times(sweep, 0, 1, 2, 3)

    refused = run([argument.replace("max_steps=4", "max_steps=5") for argument in command_line])
    assert refused.returncode == 1
    assert "Only that trial has trainer.max_steps=4; only this command has trainer.max_steps=5." in refused.stderr

    again = command("-m", "lightune.commands", "resume", str(sweep), **environment())
    assert again.returncode == 1, again.stdout + again.stderr
    assert "2 of 8 trials failed: 1 (failed: RuntimeError: planned), 2 (nan: The loss was nan" in again.stderr
    assert len(again.stderr.strip().splitlines()) <= 5 or "Traceback" not in again.stderr
    assert "resuming at step 1" in again.stdout + again.stderr
    assert times(sweep, 0, 1, 2, 3) == before
    assert list(states(sweep).values()) == ["finished", "failed", "nan", *["finished"] * 5]
    assert ended(sweep) == ["0", "3", "4", "5", "6", "7"]


def good_study(sweep: Path):
    """Create a study with five trials that no real trial can beat."""
    optuna = pytest.importorskip("optuna")
    from lightune.sweeps.search import open_storage

    sweep.mkdir()
    storage = open_storage(None, sweep_dir=sweep)
    study = optuna.create_study(study_name="study", storage=storage, direction="maximize")
    good = optuna.trial.create_trial(
        params={"optimizer.lr": 1e-3},
        distributions={"optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)},
        value=2.0,
        intermediate_values={1: 2.0, 2: 2.0},  # by the number of the validation
    )
    for _ in range(5):
        study.add_trial(good)
    return study


SEARCH = (
    *("sweep=optuna", "sweep.n_trials=7", "optimizer.lr=tag(log,interval(1e-4,1e-2))"),
    "trainer.val_check_interval=2",
)


def test_a_bad_trial_is_pruned_and_a_diverging_one_fails(arguments: Started, tmp_path: Path):
    sweep = tmp_path / "search"
    study = good_study(sweep)
    # 3 rows a step: no step that it validates at is one that the good trials validated at
    done = run(arguments(sweep, *SEARCH, "data.batch_size=3", "trainer.val_check_interval=3"), _5="nan")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 2 trials failed: 5 (nan: The loss was nan" in done.stderr
    assert states(sweep) == {5: "nan", 6: "pruned"}
    assert "val/accuracy" in (sweep / "6" / "metrics.csv").read_text()
    assert (sweep / "6" / "checkpoints" / "last.ckpt").is_file()
    trials = study.trials[5:]
    assert [trial.state.name for trial in trials] == ["FAIL", "PRUNED"]
    assert list(trials[1].intermediate_values) == [1]
    last = torch.load(sweep / "6" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["callbacks"]["Pruning"] == {"validations": 1}, "a resumed trial counts on"


@pytest.mark.matrix
def test_all_processes_of_a_trial_end_when_it_is_pruned_or_fails(arguments: Started, tmp_path: Path):
    sweep = tmp_path / "search"
    study = good_study(sweep)
    two = ("trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=4")
    done = run(arguments(sweep, *SEARCH, *two), _5="fail")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 2 trials failed: 5 (failed: RuntimeError: planned)" in done.stderr
    assert states(sweep) == {5: "failed", 6: "pruned"}
    assert [trial.state.name for trial in study.trials[5:]] == ["FAIL", "PRUNED"]
