"""What a job of several gets of a machine, and how its end is told."""

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
def test_gpus_are_shared_out_evenly(n_jobs: int, shares: list[list[str]]):
    gpus = ["0", "1", "2", "3"]
    assert [jobs.share(gpus, slot=slot, n_jobs=n_jobs) for slot in range(n_jobs)] == shares


@pytest.mark.parametrize(
    ("named", "gpus"), [("2, 5", ["2", "5"]), ("", []), ("-1", []), ("GPU-a1", ["GPU-a1"])]
)
def test_only_gpus_that_may_be_used_are_shared_out(
    named: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert jobs.visible_gpus() == gpus


def claiming(folder: str) -> subprocess.Popen[str]:
    script = f"from lightune.sweeps import jobs; print(jobs.claim_slot({folder!r}, 2), flush=True); input()"
    return subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_processes_that_run_at_once_never_have_the_same_slot(tmp_path):
    first, second = claiming(str(tmp_path)), claiming(str(tmp_path))
    slots = [process.stdout.readline().strip() for process in (first, second)]
    assert sorted(slots) == ["0", "1"]
    first.kill()  # the slot of a process that was killed is free again
    third = claiming(str(tmp_path))
    assert third.stdout.readline().strip() == slots[0]
    for process in (first, second, third):
        process.kill()
        process.communicate()


def test_what_ends_a_job_is_raised_as_an_error_that_can_be_pickled():
    def refused(_: object) -> float:
        raise SystemExit(1) from UserError("rows.csv: no rows")

    def broken(_: object) -> float:
        raise KeyError("label")

    with pytest.raises(UserError, match="^rows.csv: no rows$"):
        jobs.run(refused, None, parent=None)
    with pytest.raises(UserError, match="^KeyError: 'label'\n"):
        jobs.run(broken, None, parent=None)
