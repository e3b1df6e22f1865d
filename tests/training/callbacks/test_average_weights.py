"""What a run measures is what its best checkpoint holds, whatever callbacks it had."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, command
from omegaconf import OmegaConf

from lightune.commands import cli
from lightune.runs.checkpoint_io import read_checkpoint

TRAIN = Callable[..., dict[str, float]]
SMALL = ["data.batch_size=16", "trainer.max_epochs=3", "optimizer.lr=1e-2"]
TUNINGS = {
    "full": [],
    "lora": ["tuning=lora"],
    "bitfit": ["tuning=bitfit"],
    "frozen": ["tuning=frozen", "tuning.num_layers=1"],
    "linear_probe_then_full": ["tuning=linear_probe_then_full", "tuning.share=0.4"],
    "gradual": ["tuning=gradual"],
    "tied": ["task=masked_lm"],
    "weights only": ["+callbacks.checkpoint.save_weights_only=true"],
    "twice an epoch": ["trainer.val_check_interval=0.5", "trainer.accumulate_grad_batches=3"],
}
SHIPPED = sorted(file.stem for file in (ROOT / "conf" / "callbacks").glob("*.yaml"))


def evaluated(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    cli.main(["evaluate", str(folder)])
    return capsys.readouterr().out


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("name", SHIPPED)
def test_the_figures_of_a_run_are_those_of_its_best_checkpoint(
    train_here: TRAIN, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, tuning: str
):
    metrics = train_here("data=local", f"data.path={reviews}", *SMALL, f"callbacks={name}", *TUNINGS[tuning])
    printed = evaluated(tmp_path / "run", capsys)
    for figure in (figure for figure in metrics if figure.startswith(("val/", "test/")) and figure.count("/") == 1):
        assert f"{metrics[figure]:.4f}" in printed, figure
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    if name == "ema" and tuning != "weights only":
        averages, latest = (checkpoint["averaging"][key] for key in ("averages", "latest"))
        assert all(torch.equal(checkpoint["state_dict"][weight], averages[weight]) for weight in averages)
        assert any(not torch.allclose(averages[weight], latest[weight]) for weight in averages)


def test_it_is_the_average_of_the_weights_of_all_steps(train_here: TRAIN, reviews: Path, tmp_path: Path):
    from lightune.training.callbacks import StepSeed

    name = "model.classifier.weight"
    seen: list[torch.Tensor] = []
    patch = pytest.MonkeyPatch()
    start = StepSeed.on_train_batch_start

    def note(self: StepSeed, trainer, *arguments) -> None:
        seen.append(trainer.lightning_module.get_parameter(name).detach().clone())
        start(self, trainer, *arguments)

    with patch.context() as context:
        context.setattr(StepSeed, "on_train_batch_start", note)
        train_here("data=local", f"data.path={reviews}", *SMALL, "callbacks=ema", "callbacks.averaging.decay=0.6")
    last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    seen.append(last["averaging"]["latest"][name])
    average = seen[0]
    for step, weights in enumerate(seen[1:], start=1):
        kept = min(0.6, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * weights
    assert last["global_step"] == len(seen) - 1
    assert torch.allclose(last["state_dict"][name], average, atol=1e-6)
    assert not torch.allclose(seen[-1], average, atol=1e-4)


def test_two_devices_average_the_same(start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=4"]
    done = start(tmp_path / "run", *two, "callbacks=ema", "tuning=lora")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    again = command("-m", "lightune.commands", "evaluate", str(tmp_path / "run"))
    assert f"{metrics['test/loss']:.4f}" in again.stdout, again.stderr


@pytest.mark.parametrize("name", ["StochasticWeightAveraging", "EMAWeightAveraging", "WeightAveraging"])
def test_lightnings_own_averaging_is_refused_before_anything_is_loaded(
    train_here: TRAIN,
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
):
    monkeypatch.setenv("LIGHTUNE_ALLOWED_TARGETS", "lightning")
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", f"+callbacks.own._target_=lightning.pytorch.callbacks.{name}")
    said = capsys.readouterr().err
    assert f"callbacks: own, a {name} of Lightning's" in said and "callbacks=ema" in said
    assert len(said.splitlines()) <= 5
    assert not (tmp_path / "run" / "model").exists()


def test_sharded_weights_are_refused(
    train_here: TRAIN, reviews: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", "callbacks=ema", "trainer=fsdp", "trainer.devices=1")
    assert "trainer=ddp" in capsys.readouterr().err


def test_a_run_is_resumed_with_the_averaging_it_was_started_with(
    train_here: TRAIN, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from lightune.common.errors import UserError
    from lightune.config import check_resumed

    train_here("data=local", f"data.path={reviews}", *SMALL, "trainer.max_epochs=1", "callbacks=ema")
    cfg = OmegaConf.load(tmp_path / "run" / ".hydra" / "config.yaml")
    check_resumed(cfg, tmp_path / "run", overrides=[])
    del cfg.callbacks.averaging
    with pytest.raises(UserError, match=r"callbacks\.averaging"):
        check_resumed(cfg, tmp_path / "run", overrides=[])
