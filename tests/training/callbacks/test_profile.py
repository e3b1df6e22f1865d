import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_a_profiled_run_writes_a_trace_and_a_table(
    train_here: Callable[..., dict[str, float]], reviews: Path, tmp_path: Path
):
    train_here("data=local", f"data.path={reviews}", "profile=true", "data.batch_size=4", "trainer.max_epochs=1")
    folder = tmp_path / "run" / "profile"
    assert "aten::addmm" in (folder / "table.txt").read_text()
    trace = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    names = {event.get("name", "") for event in trace["traceEvents"]}
    assert any(name.startswith("Optimizer.step") for name in names), "whole steps are recorded"
    assert {f"ProfilerStep#{step}" for step in range(4, 14)} <= names


def test_a_warning_says_that_a_run_is_too_short_to_profile(
    train_here: Callable[..., dict[str, float]], reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    train_here("data=local", f"data.path={reviews}", "profile=true", "trainer.max_steps=2")
    assert "profile=true: a run of 4 steps or fewer" in caplog.text
    assert not (tmp_path / "run" / "profile").exists()


def test_nothing_is_recorded_by_default(train_here: Callable[..., dict[str, float]], reviews: Path, tmp_path: Path):
    train_here("data=local", f"data.path={reviews}", "trainer.max_steps=2")
    assert not (tmp_path / "run" / "profile").exists()
