import inspect
import json
from pathlib import Path

import pytest
from lightning import Trainer
from omegaconf import OmegaConf

from lightune.config.checks import REFUSED

CONF = Path(__file__).parents[2] / "conf" / "train.yaml"
TRIED = {
    "min_epochs": 2, "min_steps": 3, "max_time": "00:01:00:00", "limit_predict_batches": 0, "num_sanity_val_steps": 0,
    "gradient_clip_algorithm": "value", "benchmark": True, "inference_mode": False, "profiler": "simple",
    "enable_progress_bar": False, "sync_batchnorm": True, "reload_dataloaders_every_n_epochs": 1,
    "enable_autolog_hparams": False, "model_registry": "a", "check_val_every_n_epoch": 2, "enable_model_summary": True,
    "deterministic": True, "detect_anomaly": True, "accumulate_grad_batches": 5, "limit_train_batches": 4,
    "limit_val_batches": 1, "limit_test_batches": 0.5, "log_every_n_steps": 100, "val_check_interval": 3, "fast_dev_run": False,
}  # fmt: skip


def given(settings: dict[str, object]) -> list[str]:
    return [
        f"++trainer.{name}={str(value).lower() if value in (True, False) else repr(value)}"
        for name, value in settings.items()
    ]


def test_every_argument_of_the_trainer_is_tried_or_refused(train_here, reviews: Path):
    listed = set(OmegaConf.load(CONF).trainer) - {"_target_"}
    assert {*listed, *TRIED, *REFUSED} == {*inspect.signature(Trainer.__init__).parameters} - {"self"}
    metrics = train_here(
        "data=local", f"data.path={reviews}", "data.batch_size=8", "trainer.max_epochs=2", *given(TRIED)
    )
    assert {"val/accuracy", "test/accuracy"} <= set(metrics)


@pytest.mark.parametrize(
    "settings",
    [
        {"fast_dev_run": True},
        {"val_check_interval": "{milliseconds:1}"},
        {"val_check_interval": "{milliseconds:1}", "check_val_every_n_epoch": "null"},
        {"val_check_interval": 1000, "check_val_every_n_epoch": "null"},
        {"max_epochs": 0},
        {"max_epochs": -1, "max_steps": 2},
        {"enable_progress_bar": "false"},
    ],
)  # fmt: skip
def test_a_run_ends_with_its_figures(train_here, reviews: Path, tmp_path: Path, settings: dict[str, object]):
    options = [f"++trainer.{name}={value}" for name, value in settings.items()]
    metrics = train_here("data=local", f"data.path={reviews}", "data.batch_size=8", "trainer.max_epochs=1", *options)
    assert {"val/loss", "test/loss", "monitored"} <= set(metrics)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics


def test_a_figure_that_is_not_measured_is_refused_without_a_sanity_check_too(
    train_here, reviews: Path, capsys: pytest.CaptureFixture[str]
):
    options = (
        "+trainer.num_sanity_val_steps=0",
        "monitor.metric=val/acuracy",
        "monitor.mode=max",
        "trainer.max_epochs=1",
    )
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", *options)
    assert "Did you mean 'val/accuracy'" in capsys.readouterr().err
