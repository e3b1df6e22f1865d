import gc
import os
import subprocess
import sys

import pytest

from lightune.common.fast_imports import fast_imports

PROGRAM = """
import sys
from lightune.common.fast_imports import fast_imports
with fast_imports():
    import lightning
assert "scipy.signal" not in sys.modules
from scipy.signal import correlate
from torchmetrics.functional.audio import signal_noise_ratio
assert correlate([1.0], [2.0]) == 2.0
"""


@pytest.mark.slow
def test_torchmetrics_is_imported_without_signal_processing_which_stays_importable():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_threads_wait_as_the_environment_says(monkeypatch: pytest.MonkeyPatch):
    def spins(**given: str) -> str | None:
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with fast_imports():
            return os.environ.get("GOMP_SPINCOUNT")

    assert spins() == "1000"
    assert spins(GOMP_SPINCOUNT="7") == "7"
    assert spins(OMP_WAIT_POLICY="ACTIVE") is None


def test_what_a_job_of_a_sweep_leaves_is_collected_in_the_next():
    with fast_imports():
        pass
    before = gc.get_freeze_count()
    left = [[] for _ in range(1000)]
    with fast_imports():
        pass
    assert 0 < gc.get_freeze_count() <= before < before + len(left)


def test_the_collector_is_off_within_and_on_after_an_error():
    try:
        with fast_imports():
            assert not gc.isenabled()
            raise ImportError
    except ImportError:
        assert gc.isenabled()
