"""How jobs share a machine's GPUs, and how their errors are reported."""

import subprocess
import sys

import pytest

from lightune.common.errors import UserError
from lightune.sweeps import jobs


@pytest.mark.parametrize(
    ("n_jobs", "shares"),
    [
        (4, [["0"], ["1"], ["2"], ["3"]]),
        (2, [["0", "2"], ["1", "3"]]),
        (3, [["0"], ["1"], ["2"]]),
        (6, [["0"], ["1"], ["2"], ["3"], ["0"], ["1"]]),
    ],
)
def test_gpus_are_shared_evenly(n_jobs: int, shares: list[list[str]]):
    gpus = ["0", "1", "2", "3"]
    assert [jobs.gpu_share(gpus, slot=slot, n_jobs=n_jobs) for slot in range(n_jobs)] == shares


@pytest.mark.parametrize(("named", "gpus"), [("2, 5", ["2", "5"]), ("", []), ("-1", []), ("GPU-a1", ["GPU-a1"])])
def test_only_visible_gpus_are_shared(named: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert jobs.visible_gpus() == gpus


def claiming(folder: str) -> subprocess.Popen[str]:
    script = f"from lightune.sweeps import jobs; print(jobs.claim_slot({folder!r}, 2), flush=True); input()"
    return subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_simultaneous_processes_have_different_slots(tmp_path):
    first, second = claiming(str(tmp_path)), claiming(str(tmp_path))
    slots = [process.stdout.readline().strip() for process in (first, second)]
    assert sorted(slots) == ["0", "1"]
    # the slot of a killed process is free again
    first.kill()
    third = claiming(str(tmp_path))
    assert third.stdout.readline().strip() == slots[0]
    for process in (first, second, third):
        process.kill()
        process.communicate()


def test_the_error_of_a_job_can_be_pickled():
    def refused(_: object) -> float:
        raise SystemExit(1) from UserError("rows.csv: no rows")

    def broken(_: object) -> float:
        raise KeyError("label")

    with pytest.raises(UserError, match="^rows.csv: no rows$"):
        jobs.run_job(refused, None, parent=None)
    with pytest.raises(UserError, match="^KeyError: 'label'\n"):
        jobs.run_job(broken, None, parent=None)
