"""Sweeps with simultaneous jobs: their shares of the machine, their failures, and how they end."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TRAIN

from lightune.common import processes

pytestmark = pytest.mark.slow

START = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=2")
SWEEP = [TRAIN, "-m"]


def noted(job: Path) -> dict[str, str]:
    return json.loads((job / "note.json").read_text())


def assert_secret_is_kept(sweep: Path) -> None:
    """Assert that no file holds the secret, but the note in which the test's own callback writes it down."""
    files = [file for file in sweep.rglob("*") if file.is_file() and file.name != "note.json"]
    assert not [file for file in files if b"hunter2" in file.read_bytes()]


def running(marker: Path) -> list[str]:
    """Return the command lines of running processes whose environment holds this text."""
    command_lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(marker).encode() in (process / "environ").read_bytes():
                command_lines.append((process / "cmdline").read_text())
        except OSError:
            continue
    return command_lines


def assert_none_running(marker: Path, *, within: float = 30) -> None:
    until = time.monotonic() + within
    while running(marker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not running(marker)


def test_simultaneous_jobs_have_shares_of_the_machine(start: START, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done = start(
        None, *SHORT, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1", f"hydra.sweep.dir={tmp_path}",
        "trainer.accelerator=auto", "+callbacks.note._target_=killer.Note", "+callbacks.note.api_key=hunter2-given",
        launcher=SWEEP, cwd=tmp_path, CUDA_VISIBLE_DEVICES="97,98",  # GPUs that are not there
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = noted(tmp_path / "0"), noted(tmp_path / "1")
    assert {first["gpus"], second["gpus"]} == {"97", "98"}
    assert first["threads"] == second["threads"] == max(1, joblib.cpu_count() // 2)
    assert all((tmp_path / job / "metrics.json").is_file() for job in ("0", "1"))
    assert first["secret"] == "hunter2-given"
    assert_secret_is_kept(tmp_path)


@pytest.mark.parametrize("launcher", [pytest.param("joblib", marks=pytest.mark.matrix), "submitit_local"])
def test_a_failed_job_says_why_and_the_others_finish(start: START, tmp_path: Path, launcher: str):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    done = start(
        None, *SHORT, f"hydra/launcher={launcher}", "data.text_columns=[text],[words]", f"hydra.sweep.dir={tmp_path}",
        "+callbacks.note._target_=killer.Note", "+callbacks.note.api_key=hunter2-given", launcher=SWEEP, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no column 'words'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "0" / "metrics.json").is_file()
    assert_secret_is_kept(tmp_path)


def test_an_invalid_job_is_reported_before_any_job_starts(start: START, tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = start(
        None, "hydra/launcher=joblib", "scheduler=linear,../scheduler/linear", f"hydra.sweep.dir={tmp_path}/sweep",
        launcher=SWEEP, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "scheduler='../scheduler/linear'" in done.stderr
    assert not (tmp_path / "sweep" / "0").exists()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads Linux' /proc")
@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.matrix) for n in (signal.SIGINT, signal.SIGKILL))],
)
def test_a_signal_to_the_sweep_lets_its_jobs_save_and_end(start: START, tmp_path: Path, number: signal.Signals):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = start(
        None, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1,2", f"hydra.sweep.dir={tmp_path}",
        "trainer.max_epochs=100", "callbacks.early_stopping.patience=100", launcher=SWEEP, cwd=tmp_path,
        kill={"epoch": 0, "batch": 5, "number": int(number), "parent": True}, MARKER=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == (-number if number == signal.SIGKILL else 128 + number), done.stderr
    assert_none_running(tmp_path, within=processes.GRACE_SECONDS)
    assert list(tmp_path.glob("*/checkpoints/last.ckpt"))
    assert not (tmp_path / "2" / ".hydra").exists()


SBATCH = """#!/usr/bin/env python3
import os, subprocess, sys
script = open(sys.argv[-1]).read()
tasks = script.partition("--ntasks-per-node=")[2].split()[0]
job = {"SLURM_JOB_ID": "4099", "SLURM_JOB_NAME": "train"}
size = {"SLURM_NTASKS": tasks, "SLURM_NTASKS_PER_NODE": tasks, "SLURM_NNODES": "1", "SLURM_NODELIST": "localhost"}
with open(os.devnull, "w") as nowhere:
    subprocess.Popen(["bash", "-c", script], env={**os.environ, **job, **size}, stdout=nowhere, stderr=nowhere)
print("Submitted batch job 4099")
"""
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do if [[ $1 == --output || $1 == --error ]]; then shift; fi; shift; done
for task in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NODEID=0 "$@" &
done
wait
touch "$0.ended"
"""
SACCT = """#!/bin/bash
[[ -e ${0%sacct}srun.ended ]] && state=COMPLETED || state=RUNNING
printf "JobID|State|NodeList\\n4099|$state|localhost\\n"
"""


def test_a_slurm_job_with_two_tasks_is_one_run_in_the_sweep_folder(start: START, tmp_path: Path):
    """Stand-ins for SLURM's commands run the job here, with the variables that SLURM sets."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    sweep = tmp_path / "sweep"
    done = start(
        None, *SHORT, "hydra/launcher=submitit_slurm", "hydra.launcher.tasks_per_node=2", f"hydra.sweep.dir={sweep}",
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "+callbacks.note._target_=killer.Note",
        launcher=SWEEP, cwd=tmp_path, PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (sweep / "0" / "metrics.json").is_file()
    assert noted(sweep / "0")["ranks"] == 2
    assert not (tmp_path / "outputs").exists()
    [script] = sweep.glob(".submitit/**/*submission.sh")
    assert "--signal=USR1@" in script.read_text()
    assert "--gpus-per-node=1" in script.read_text()
