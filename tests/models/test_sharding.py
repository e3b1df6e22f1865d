"""FSDP on two CPU processes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from architectures import small
from conftest import save_tokenizer
from test_all_tasks import write_chats

from lightune.commands import cli
from lightune.runs.checkpoint_io import read_checkpoint
from lightune.runs.inference import inference_trainer
from lightune.runs.load_run import rebuild, rebuild_data

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.matrix)])
def test_adapters_are_trained_beside_sharded_frozen_weights(
    start: Callable[..., subprocess.CompletedProcess[str]],
    train_here: Callable[..., dict[str, float]],
    tmp_path: Path,
    precision: str,
):
    """A step is that of one process on the same rows; the checkpoint holds the adapters, for one device too."""
    model, data = tmp_path / "model", tmp_path / "data"
    save_tokenizer(model)
    small("qwen").save_pretrained(model)
    data.mkdir()
    for split in ("train", "validation", "test"):
        write_chats(data / f"{split}.jsonl", 8)
    options = [
        "task=dialogue", "data=local", f"data.path={data}", f"model.pretrained_model_name_or_path={model}",
        "tuning=lora", "tuning.dropout=0", "optimizer.lr=1e-2", f"trainer.precision={precision}",
        "trainer.max_epochs=1", "task.generation.max_new_tokens=3", "scheduler=constant",
    ]  # fmt: skip
    run = tmp_path / "fsdp"
    done = start(run, *options, "trainer=fsdp", *TWO[:2], "data.batch_size=8", "trainer.max_steps=1")
    assert done.returncode == 0, done.stderr
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    assert all(".lora_" in name for name in checkpoint["state_dict"])
    train_here(*options, "data.batch_size=16", "trainer.max_steps=1")
    alone = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert checkpoint["frozen_sha256"] == alone["frozen_sha256"]
    assert checkpoint["state_dict"].keys() == alone["state_dict"].keys()
    for name, tensor in alone["state_dict"].items() if precision == "32-true" else ():
        torch.testing.assert_close(checkpoint["state_dict"][name], tensor, rtol=0, atol=1e-5)
    metrics = json.loads((run / "metrics.json").read_text())
    (again,) = inference_trainer(precision).test(rebuild(run)[1], rebuild_data(run), verbose=False)
    assert again["test/loss"] == pytest.approx(metrics["test/loss"], abs=1e-3 if "bf16" in precision else 1e-5)
