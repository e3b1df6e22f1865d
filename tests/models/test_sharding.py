"""FSDP on two CPU processes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lightune.commands import cli

TWO = (
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "data.batch_size=4",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=4",
)


def test_fsdp_trains_as_ddp_does_and_its_checkpoint_is_an_ordinary_one(
    start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    metrics = {}
    for name in ("ddp", "fsdp"):
        done = start(tmp_path / name, f"trainer={name}", *TWO)
        assert done.returncode == 0, done.stderr
        metrics[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    held_out = [name for name in metrics["ddp"] if name.startswith(("val/", "test/"))]
    assert {name: metrics["fsdp"][name] for name in held_out} == pytest.approx(
        {name: metrics["ddp"][name] for name in held_out}, abs=1e-4
    )
    assert metrics["fsdp"]["parameters/total"] == metrics["ddp"]["parameters/total"]
    cli.main(["predict", str(tmp_path / "fsdp"), "--text", "a good film"])
    assert '"label"' in capsys.readouterr().out
