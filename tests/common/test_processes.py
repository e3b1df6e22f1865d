"""Several devices: a run has one folder, and its processes end together."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import TRAIN

from lightune.common import processes
from lightune.common.errors import UserError

pytestmark = pytest.mark.slow

START = Callable[..., subprocess.CompletedProcess[str]]
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=4")
SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=2")


@pytest.fixture
def _real_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes be found by their command lines, and have those that started them as parents."""
    monkeypatch.setenv("REAL_RANKS", "1")


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of running processes that name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and int(process.name) != os.getpid():
            found.append(line)
    return found


def assert_none_left(folder: Path, *, within: float = 30) -> None:
    until = time.monotonic() + within
    while processes_in(folder) and time.monotonic() < until:
        time.sleep(0.1)
    assert not processes_in(folder)


linux = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads Linux' /proc")


@linux
@pytest.mark.usefixtures("_real_ranks")
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(each, marks=pytest.mark.matrix) for each in (signal.SIGINT, signal.SIGKILL)),
    ],
)
def test_a_signal_to_the_parent_alone_ends_all_processes_and_saves(
    start: START, tmp_path: Path, number: signal.Signals
):
    folder = tmp_path / "run"
    kill = {"epoch": 0, "batch": 5, "number": int(number), "parent": True, "rank": 1}
    done = start(folder, *TWO, "trainer.max_epochs=100", "callbacks.early_stopping.patience=100", kill=kill)
    assert done.returncode == (-number if number == signal.SIGKILL else 128 + number), done.stderr
    assert_none_left(folder)
    assert (folder / "checkpoints" / "last.ckpt").is_file()


@linux
def test_workers_do_not_outlive_a_killed_run(start: START, tmp_path: Path):
    done = start(tmp_path / "run", "data.num_workers=2", kill={"epoch": 0, "batch": 5})
    assert done.returncode == -signal.SIGKILL  # it returned: nobody else holds its output


@linux
@pytest.mark.usefixtures("_real_ranks")
@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.matrix)])
def test_an_exception_on_one_device_ends_all_processes_with_its_traceback(start: START, tmp_path: Path, rank: int):
    done = start(tmp_path / "run", *TWO, kill={"epoch": 0, "batch": 3, "number": 0, "rank": rank})
    assert done.returncode == 1
    assert "RuntimeError: planned" in done.stderr
    assert_none_left(tmp_path / "run")


def test_a_sweep_on_two_devices_makes_one_folder_for_each_job(start: START, tmp_path: Path):
    done = start(None, *TWO, *SHORT, "seed=0,1", launcher=[TRAIN, "-m"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [folder.name for folder in tmp_path.iterdir()] == ["multirun"]
    [sweep] = (tmp_path / "multirun").iterdir()
    jobs = sorted(folder for folder in sweep.iterdir() if folder.is_dir())
    assert [job.name for job in jobs] == ["0", "1"]
    assert all(json.loads((job / "metrics.json").read_text())["test/loss"] > 0 for job in jobs)


def test_torchrun_makes_one_folder(start: START, tmp_path: Path):
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", TRAIN]
    done = start(None, *TWO, *SHORT, launcher=torchrun, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "outputs" / "local-minilm").iterdir()
    assert (folder / "metrics.json").is_file()
    assert (folder / ".hydra" / "config.yaml").is_file()
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [row["row"] for row in predictions] == list(range(18))  # of both devices, each once


def two_machines(start: START, folder: Path, kind: str) -> list[subprocess.CompletedProcess[str]]:
    """Run as on two machines with one device each, both of them this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    agent = [
        "-m",
        "torch.distributed.run",
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--rdzv-backend",
        "c10d",
    ]
    agent += ["--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "two"]
    slurm = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2"}
    slurm |= {"SLURM_NODELIST": "localhost", "SLURM_LOCALID": "0", "MASTER_PORT": port}

    def machine(number: int) -> subprocess.CompletedProcess[str]:
        srun = {**slurm, "SLURM_PROCID": str(number), "SLURM_NODEID": str(number)} if kind == "srun" else {}
        launcher = [TRAIN] if srun else [*agent, TRAIN]
        asked = (*TWO, *SHORT, "trainer.devices=1", "trainer.num_nodes=2")
        return start(None, *asked, launcher=launcher, cwd=folder, **srun)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(machine, range(2)))


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["torchrun", "srun"])
def test_two_machines_train_together_into_one_folder(start: START, tmp_path: Path, kind: str):
    machines = two_machines(start, tmp_path, kind)
    assert [done.returncode for done in machines] == [0, 0], [done.stderr for done in machines]
    [folder] = (tmp_path / "outputs" / "local-minilm").iterdir()
    assert (folder / "metrics.json").is_file()
    assert sum(done.stdout.count("\nrun: ") for done in machines) == 1


def test_several_machines_without_torchrun_or_slurm_are_refused(start: START, tmp_path: Path):
    done = start(tmp_path / "run", "trainer.num_nodes=2")
    assert done.returncode == 1
    assert "torchrun --nnodes 2 --nproc-per-node 1" in done.stderr


def test_a_sweep_within_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch):
    processes.check_sweep(is_sweep=True)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    processes.check_sweep(is_sweep=False)
    with pytest.raises(UserError, match="would be run by each process for itself"):
        processes.check_sweep(is_sweep=True)


@pytest.mark.matrix
def test_with_fewer_held_out_rows_than_devices_scores_are_the_same(start: START, tmp_path: Path):
    metrics = []
    for devices in ("1", "2"):
        folder = tmp_path / devices
        held_out = ("data.max_eval_samples=1", "optimizer.lr=0", f"trainer.devices={devices}")
        done = start(folder, *TWO, *SHORT, *held_out)
        assert done.returncode == 0, done.stderr
        metrics.append(json.loads((folder / "metrics.json").read_text()))
    one, two = metrics
    held_out = [name for name in one if name.startswith(("val/", "test/"))]
    assert {name: one[name] for name in held_out} == {name: two[name] for name in held_out}


def test_variables_and_signal_handlers_are_restored(monkeypatch: pytest.MonkeyPatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("STAYS", "1")
    with processes.restored_environment():
        os.environ["LOCAL_RANK"] = "1"
        del os.environ["STAYS"]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert "LOCAL_RANK" not in os.environ
    assert os.environ["STAYS"] == "1"
    assert signal.getsignal(signal.SIGTERM) == before
