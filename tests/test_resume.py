"""A run that was killed and resumed ends as one that was never stopped, to the last bit."""

import csv
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TRAIN, command

TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
TIMED = ("per_second", "seconds", "peak_memory")
START = Callable[..., subprocess.CompletedProcess[str]]


def resume(run_dir: Path, *overrides: str, **env: str) -> subprocess.CompletedProcess[str]:
    return command("-m", "lightune.commands", "resume", str(run_dir), *overrides, **env)


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
CHECKED = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "throughput", "should_stop", "averaging")


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
    "ranks": {"1": [], "2": [*TWO, "data.batch_size=4"]},
}
KILLS = {
    "mid-epoch": [{"epoch": 1, "batch": 7}],
    "epoch end": [{"epoch": 1, "batch": 0}],
    "twice in an epoch": [{"epoch": 0, "batch": 4}, {"epoch": 0, "batch": 10}],
    "in validation, and after it": [{"epoch": 0, "batch": 0, "validation": True}, {"epoch": 1, "batch": 0}],
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


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(SETTINGS["ranks"]["2"], id="two ranks"),
        pytest.param(["tuning=lora", "model.pooling=null"], id="adapters", marks=pytest.mark.matrix),
        pytest.param(
            ["trainer=fsdp", *TWO[1:], "data.batch_size=4", "tuning=lora", "model.pooling=null"],
            id="sharded adapters",
            marks=pytest.mark.matrix,
        ),
        pytest.param(["callbacks=ema"], id="averaged", marks=pytest.mark.matrix),
        pytest.param(
            [*SETTINGS["ranks"]["2"], "callbacks=ema", "tuning=lora"], id="averaged adapters", marks=pytest.mark.matrix
        ),
        pytest.param(
            ["tuning=linear_probe_then_full", "tuning.share=0.9"],
            id="within a probe",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            ["tuning=linear_probe_then_full", "tuning.share=0.6"],
            id="after a probe",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            ["scheduler=plateau", "scheduler.patience=0", "+scheduler.threshold=1", "+scheduler.threshold_mode=abs"],
            id="plateau",
        ),
        pytest.param(
            [
                "scheduler=plateau",
                "scheduler.patience=0",
                "trainer.val_check_interval=4",
                "callbacks=ema",
                "callbacks.early_stopping.patience=9",
            ],
            id="plateau within an epoch",
            marks=pytest.mark.matrix,
        ),
        pytest.param(["scheduler=one_cycle"], id="one cycle", marks=pytest.mark.matrix),
        pytest.param(
            [
                "optimizer._target_=killer.ScheduleFree",
                *(f"~optimizer.{name}" for name in ("betas", "eps", "fused")),
                "optimizer.lr=0.1",
                "scheduler=constant",
                "trainer.val_check_interval=4",
            ],
            id="schedule-free",
        ),
        pytest.param(["tuning=gradual", "tuning.share=0.9"], id="gradual", marks=pytest.mark.matrix),
    ],
)
def test_in_short_killed_and_resumed_is_as_never_stopped(
    start: START, reference: Any, tmp_path: Path, settings: tuple[str, ...]
):
    check(start, reference, tmp_path / "run", KILLS["mid-epoch"], *settings)


def test_told_to_stop_it_saves_and_the_resume_command_goes_on(start: START, reference: Any, tmp_path: Path):
    expected = reference()
    done = start(tmp_path / "run", kill={"epoch": 1, "batch": 5, "number": int(signal.SIGTERM)})
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "SIGTERM: stopped at step 18, everything is saved. To resume: lightune resume" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    moved = (tmp_path / "run").rename(tmp_path / "moved here")
    done = resume(moved, "~callbacks.kill")
    assert done.returncode == 0, done.stderr
    assert_same(ended(moved), expected)


def test_a_damaged_newest_checkpoint_falls_back_to_one_before(start: START, reference: Any, tmp_path: Path):
    expected = reference()
    folder = tmp_path / "run"
    assert start(folder, kill={"epoch": 1, "batch": 5}).returncode in (137, -9)
    last, best = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    last.write_bytes(last.read_bytes()[:10_000])
    done = start(folder, f"resume='{folder}'")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("Going on from best.ckpt, which is older.") == 1
    assert_same(ended(folder), expected)

    for path in (last, best):
        path.write_bytes(b"")
    done = resume(folder, "~callbacks.kill")
    assert done.returncode == 1
    assert "cannot be resumed: of the checkpoints in" in done.stderr
    assert len(done.stderr.splitlines()) <= 5
    assert last.read_bytes() == b""


def test_a_job_that_slurm_queues_again_goes_on(start: START, reference: Any, tmp_path: Path):
    """``scontrol`` is asked for it, and the second start, by the same command, finds the folder of the first."""
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\n')
    (tmp_path / "scontrol").chmod(0o755)
    slurm = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "1", "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    kill = {"epoch": 1, "batch": 5, "number": int(signal.SIGUSR1), "once": "SLURM_RESTART_COUNT"}
    done = start(None, kill=kill, cwd=tmp_path, **slurm)
    assert done.returncode == 128 + signal.SIGUSR1, done.stderr
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    done = start(None, kill=kill, cwd=tmp_path, SLURM_RESTART_COUNT="1", **slurm)
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "outputs" / "local-minilm").iterdir()
    assert_same(ended(folder), reference())


CHANGES: dict[str, tuple[list[str], list[str]]] = {
    "another batch size": ([], ["data.batch_size=3"]),
    "a token budget": ([], ["data.max_tokens_per_batch=90"]),
    "a batch size for a token budget": (["data.max_tokens_per_batch=90"], ["data.max_tokens_per_batch=null"]),
    "accumulation": ([], ["data.batch_size=4", "trainer.accumulate_grad_batches=2"]),
    "part of an epoch": (["trainer.limit_train_batches=0.6"], ["trainer.limit_train_batches=0.6", "data.batch_size=2"]),
    "one device, then two": ([], TWO),
    "two devices, then one": (TWO, ["trainer=cpu"]),
    "two devices, another batch size": (TWO, [*TWO, "data.batch_size=5"]),
}


def seen(folder: Path, *, epoch: int) -> list[tuple[int, ...]]:
    """Return the rows that all devices have trained on in an epoch, sorted."""
    lines = [json.loads(line) for file in folder.glob("seen-*.jsonl") for line in file.read_text().splitlines()]
    return sorted(tuple(row) for line in lines if line["epoch"] == epoch for row in line["rows"])


@pytest.mark.parametrize(
    "change",
    [pytest.param(name, marks=() if name.startswith("a token") else pytest.mark.matrix) for name in CHANGES],
)
def test_resumed_in_other_batches_an_epoch_still_holds_every_row_once(start: START, tmp_path: Path, change: str):
    before, after = CHANGES[change]
    watched = ["+callbacks.seen._target_=killer.Seen", "callbacks.last.every_minutes=0"]
    folder = tmp_path / "run"
    done = start(folder, *before, *watched, kill={"epoch": 0, "batch": 3})
    assert done.returncode in (137, -9), done.stderr
    dealt = len(seen(folder, epoch=0))
    done = start(folder, *after, *watched, f"resume='{folder}'")
    assert done.returncode == 0, done.stderr
    first, second = seen(folder, epoch=0), seen(folder, epoch=1)
    assert 0 < dealt < len(first)
    repeated = 2 if "device" in change else 0  # where two devices do not divide a step's rows, one comes twice
    if change == "part of an epoch":
        assert abs(len(first) - len(second)) <= 8
        assert len({*first}) > 0.95 * len(first)  # a few reviews are the same by chance
    else:
        assert {*first} == {*second}
        assert abs(len(first) - len(second)) <= repeated
    rates = [json.loads(line)["rate"] for line in (folder / "seen-0.jsonl").read_text().splitlines()]
    assert rates[-1] == 0, "the schedule ends with the last step"


@pytest.mark.matrix
def test_resumed_in_other_batches_and_killed_again_is_as_killed_once(start: START, tmp_path: Path):
    often, folders = "callbacks.last.every_minutes=0", [tmp_path / "once", tmp_path / "twice"]
    for folder, kills in zip(folders, ([], [{"epoch": 0, "batch": 19}]), strict=True):
        assert start(folder, often, kill={"epoch": 0, "batch": 4}).returncode in (137, -9)
        for kill in (*kills, None):
            done = start(folder, often, "data.batch_size=3", f"resume='{folder}'", kill=kill)
            assert done.returncode in ((137, -9) if kill else (0,)), done.stderr
    assert_same(ended(folders[1]), ended(folders[0]))


OFTEN = """
import os, random, runpy, signal, sys, time
from pathlib import Path
from lightune.runs.checkpoint_io import newest_loadable

script, folder, kills, *overrides = sys.argv[1:]
last = Path(folder, "checkpoints", "last.ckpt")
rng = random.Random(0)
saved = lambda: last.stat().st_mtime_ns if last.exists() else 0
def start():
    sys.argv = [script, *overrides, *([f"resume='{folder}'"] if saved() else [])]
    child = os.fork()
    if child == 0:
        runpy.run_path(script, run_name="__main__")
        os._exit(0)
    return child
for _ in range(int(kills)):
    before, child = saved(), start()
    while saved() == before:
        assert os.waitpid(child, os.WNOHANG)[0] == 0, "it ended of itself"
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert newest_loadable([last])[0] == last, "a kill left no checkpoint to go on from"
sys.exit(os.waitstatus_to_exitcode(os.waitpid(start(), 0)[1]))
"""


@pytest.mark.parametrize(("kills", "epochs"), [(6, 5), pytest.param(20, 15, marks=pytest.mark.matrix)])
def test_kills_at_random_moments_lose_nothing(start: START, tmp_path: Path, kills: int, epochs: int):
    """With temporary files on another file system, where Lightning's own way of saving left half a checkpoint."""
    elsewhere = Path("/dev/shm")
    env = {"TMPDIR": str(elsewhere)} if elsewhere.is_dir() else {}
    settings = [
        f"trainer.max_epochs={epochs}",
        f"callbacks.early_stopping.patience={epochs}",
        "callbacks.last.every_minutes=0",
    ]
    (tmp_path / "often.py").write_text(OFTEN)
    launcher = [str(tmp_path / "often.py"), TRAIN, str(tmp_path / "run"), str(kills)]
    assert start(tmp_path / "reference", *settings).returncode == 0
    done = start(tmp_path / "run", *settings, launcher=launcher, **env)
    assert done.returncode == 0, done.stderr
    assert_same(ended(tmp_path / "run"), ended(tmp_path / "reference"))
