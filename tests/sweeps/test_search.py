"""A search with Optuna survives its processes, and several may share it. A stand-in for training ends at once."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

optuna = pytest.importorskip("optuna")

QUICK = f"""
import json, os, sys, time
from pathlib import Path
import hydra
from lightune.config import friendly_errors, guarded_command_line
from lightune.sweeps.run_trial import run_as_trial
from lightune.common.errors import PrunedError

@hydra.main(version_base="1.3", config_path={str(ROOT / "conf")!r}, config_name="train")
def train(cfg):
    with friendly_errors():
        return run_as_trial(quick, cfg)

def quick(cfg):
    folder = Path(cfg.run_dir)
    what = json.loads(os.environ.get("BREAK", "{{}}")).get(folder.name)
    if what == "kill":
        os.kill(os.getpid(), 9)
    if what == "fail":
        raise RuntimeError("planned")
    if what == "pruned":
        raise PrunedError(0.1)
    if what == "stop":
        raise SystemExit(143)
    if what == "late":
        (folder / "metrics.json").write_text(json.dumps({{"val/accuracy": 0.5, "monitored": 0.5}}))
        os.kill(os.getpid(), 9)
    time.sleep(float(os.environ.get("SLEEP", 0)))
    cfg.monitor.metric, cfg.monitor.mode = "val/accuracy", "max"
    with (folder.parent / "ended").open("a") as file:
        file.write(folder.name + "\\n")
    return float("nan") if what == "nan" else 1 - cfg.optimizer.lr

if __name__ == "__main__":
    with friendly_errors(), guarded_command_line():
        train()
"""
LR = "optimizer.lr=tag(log,interval(1e-4,1e-2))"
EIGHT = ("sweep.n_trials=8",)
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a sweep of instant trials in a folder."""
    (tmp_path / "quick.py").write_text(QUICK)

    def begin(sweep: str, *overrides: str, sleep: float = 0, **broken: str) -> "subprocess.Popen[str]":
        what = json.dumps({number.strip("_"): what for number, what in broken.items()})
        return subprocess.Popen(
            [forked.python(), "quick.py", "-m", f"hydra.sweep.dir={sweep}", *overrides],
            cwd=tmp_path,
            env={**os.environ, "BREAK": what, "SLEEP": str(sleep)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


def end(*started: "subprocess.Popen[str]", code: int = 0) -> str:
    output = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [code] * len(started), output
    return "\n".join(output)


def states(sweep: Path) -> list[str]:
    trials = [json.loads(file.read_text()) for file in sweep.glob("*/trial.json")]
    return [trial["state"] for trial in sorted(trials, key=lambda trial: trial["number"])]


def study(storage: Path, name: str = "study") -> optuna.Study:
    from lightune.sweeps.search import open_storage

    where = f"sqlite:///{storage}" if storage.suffix == ".db" else str(storage)
    return optuna.load_study(study_name=name, storage=open_storage(where, sweep_dir=storage.parent))


def test_a_search_killed_in_its_fifth_trial_continues(start: Start, tmp_path: Path):
    options = ("sweep=optuna", *EIGHT, LR, "data.batch_size=interval(1,64)", "tuning=full,frozen")
    end(start("search", *options, _1="fail", _2="nan", _3="pruned", _4="kill"), code=-9)
    sweep = tmp_path / "search"
    assert states(sweep) == ["finished", "failed", "nan", "pruned", "running"]
    before = [(sweep / str(number) / "trial.json").read_text() for number in range(5)]

    output = end(start("search", *options, "trainer.max_epochs=1"), code=1)
    assert "fixed was" in output
    assert "trainer.max_epochs=1" in output

    end(start("search", *options, _6="stop"), code=143)
    output = end(start("search", *options), code=1)
    assert "2 of 8 trials failed: 1 (failed: RuntimeError: planned), 2 (nan: val/accuracy is nan)" in output
    assert states(sweep) == ["finished", "failed", "nan", "pruned", *["finished"] * 4]
    after = [(sweep / str(number) / "trial.json").read_text() for number in range(5)]
    assert after[:4] == before[:4]
    assert json.loads(after[4])["overrides"] == json.loads(before[4])["overrides"]
    assert (sweep / "ended").read_text().split() == ["0", "2", "4", "5", "6", "7"]
    trials = study(sweep / "study.journal").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "FAIL", "PRUNED", *["COMPLETE"] * 4]
    assert trials[7].value == pytest.approx(1 - trials[7].params["optimizer.lr"])
    assert all(isinstance(trial.params["data.batch_size"], int) for trial in trials)


def test_two_processes_share_a_study_in_one_folder(start: Start, tmp_path: Path):
    end(*(start("search", "sweep=optuna", *EIGHT, LR, sleep=0.1) for _ in range(2)))
    assert states(tmp_path / "search") == ["finished"] * 8
    assert sorted((tmp_path / "search" / "ended").read_text().split()) == list("01234567")
    trials = study(tmp_path / "search" / "study.journal").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 8


def test_two_machines_share_a_study_in_a_database(start: Start, tmp_path: Path):
    shared = ("sweep=random", *EIGHT, "sweep.study_name=shared", f"sweep.storage=sqlite:///{tmp_path}/study.db", LR)
    first = start("one", *shared, sleep=0.1, _0="kill", _1="kill")
    second = start("two", *shared, sleep=0.1)
    first.communicate(timeout=60)
    second.communicate(timeout=60)
    running = [trial for trial in study(tmp_path / "study.db", "shared").trials if trial.state.name == "RUNNING"]
    # the trial of the killed process, which no other process takes
    assert len(running) <= 1
    end(start("one", *shared), start("two", *shared))
    trials = study(tmp_path / "study.db", "shared").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * len(trials)
    # two processes with different folders may both ask for the last trial
    assert 8 <= len(trials) <= 9
    ended = [name for file in tmp_path.glob("*/ended") for name in file.read_text().split()]
    assert sorted(ended, key=int) == [str(number) for number in range(len(trials))]


@pytest.mark.parametrize(
    ("overrides", "hint"),
    [
        (("sweep=optuna", *EIGHT, "sweep.sampler=tpee", LR), "sweep.sampler=tpee: Did you mean 'tpe'"),
        (("sweep=optuna", *EIGHT, "model=bret,minilm"), "Did you mean 'bert'"),
        (("sweep=optuna", *EIGHT, "model=minilm"), "has nothing to vary"),
        (("sweep=optuna", *EIGHT, LR, "sweep.storage=study"), "expected FILE.journal, or a URL"),
    ],
)
def test_a_mistake_is_reported_before_any_trial(overrides: tuple[str, ...], hint: str, start: Start, tmp_path: Path):
    output = end(start("search", *overrides), code=1)
    assert hint in output
    assert len(output.splitlines()) <= 5
    assert not list(tmp_path.glob("search/*/trial.json"))


def test_a_grid_can_grow_and_needs_no_optuna(start: Start, tmp_path: Path):
    # imported in place of the installed package
    (tmp_path / "optuna.py").write_text("raise ImportError('not here')")
    end(start("grid", "optimizer.lr=1e-3", "seed=0,1", _1="late"), code=-9)
    end(start("grid", "optimizer.lr=1e-3", "seed=2,1,0"))
    assert states(tmp_path / "grid") == ["finished"] * 3
    assert (tmp_path / "grid" / "ended").read_text().split() == ["0", "2"]
    assert json.loads((tmp_path / "grid" / "2" / "trial.json").read_text())["overrides"][-1] == "seed=2"
    assert "needs Optuna" in end(start("search", "sweep=optuna", LR), code=1)


def test_two_processes_share_a_grid(start: Start, tmp_path: Path):
    end(*(start("grid", "optimizer.lr=1e-3,2e-3", "seed=0,1,2", sleep=0.1) for _ in range(2)))
    assert states(tmp_path / "grid") == ["finished"] * 6
    assert sorted((tmp_path / "grid" / "ended").read_text().split()) == list("012345")
