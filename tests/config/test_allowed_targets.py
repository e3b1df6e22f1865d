import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, command

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.config.allowed_targets import LIBRARIES, VARIABLE, check_hydra_targets, check_targets

DANGEROUS = [
    "torch.load",
    "joblib.load",
    "numpy.load",
    "builtins.open",
    "builtins.exec",
    "os.system",
    "subprocess.run",
    "lightune.config.os.system",
    "lightune.models.pretrained.AutoModel",
    "lightune.common.hub",
    "lightune.no_such_module.f",
    "lightune_evil.run",
    "torch.optim.AdamW.step",
    "torch.optim.lr_scheduler.wraps",
    "torch.nn.Linear",
    "torch.nn.modules.loss._Loss",
    "torch.nn.CrossEntropyLoss.forward",
    "torch.nn.no_such_module.f",
    "torchmetrics.MetricCollection",
    "torchmetrics.text.BERTScore",
    "transformers.optimization.Trainer",
    "transformers.AutoModel.from_pretrained",
    "joblib.load.__call__",
    "builtins.eval",
    "hydra.utils.instantiate",
    "hydra._internal.utils._locate",
    "functools.partial",
    "lightune.runs.run_folder.torch.load",
    "lightune.data.sources.read.load_dataset",
    "lightune.data.DataModule.setup",
    "lightune.runs.run_folder.Run.save_head",
    "lightune.commands.cli.main",
    "lightune.config.load_run_config",
    "lightune.common.package_index._unpack_minilm",
    "None",
]


@pytest.mark.parametrize("target", DANGEROUS)
def test_what_nobody_allowed_is_refused(target: str):
    with pytest.raises(UserError) as refused:
        check_targets({"callbacks": {"mine": {"_target_": target}}})
    message = str(refused.value)
    assert message.startswith(f"callbacks.mine._target_={target} is refused")
    assert f"{VARIABLE}={target}" in message
    assert len(message.splitlines()) <= 5


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.delitem(sys.modules, "lightune.tuning.lora", raising=False)
    with pytest.raises(UserError, match=r"lightune\.tuning\.lora\.lora cannot be imported: .*peft.*\nmake setup"):
        check_targets({"tuning": {"_target_": "lightune.tuning.lora.lora"}})


def test_targets_are_found_at_any_depth():
    with pytest.raises(UserError, match=r"a\.0\.b\.1\._target_=os\.system"):
        check_targets({"a": [{"b": [1, {"_target_": "os.system"}]}]})


def test_shipped_targets_and_our_own_are_allowed():
    shipped = {
        name
        for file in (ROOT / "conf").glob("**/*.yaml")
        for name in re.findall(r"^\s*_target_: (\S+)", file.read_text(), flags=re.MULTILINE)
        if not name.startswith("hydra_plugins.")  # in Hydra's own node: check_hydra_targets
    }
    check_targets({str(number): {"_target_": name} for number, name in enumerate(sorted(shipped))})
    watching = {
        f"lightning.pytorch.callbacks.{name}" for name in ("DeviceStatsMonitor", "LearningRateMonitor", "Timer")
    }
    assert {name for name in shipped if not name.startswith("lightune.")} == LIBRARIES - watching


@pytest.mark.parametrize(
    "target",
    [
        "lightning.pytorch.callbacks.DeviceStatsMonitor",
        "lightning.pytorch.callbacks.LearningRateMonitor",
        "lightning.pytorch.callbacks.Timer",
        "torch.optim.SGD",
        "torch.optim.lr_scheduler.OneCycleLR",
        "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "torch.nn.CrossEntropyLoss",
        "torch.nn.modules.loss.BCEWithLogitsLoss",
        "torchmetrics.AUROC",
        "torchmetrics.classification.MulticlassAUROC",
        "torchmetrics.regression.R2Score",
        "transformers.optimization.Adafactor",
    ],
)
def test_optimizers_schedules_losses_and_metrics_of_the_libraries_are_allowed(target: str):
    check_targets({"mine": {"_target_": target}})


def test_a_person_may_allow_a_package_of_their_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "mine, sklearn.svm.SVC")
    check_targets({"a": {"_target_": "mine.models.Big"}, "b": {"_target_": "sklearn.svm.SVC"}})
    with pytest.raises(UserError):
        check_targets({"a": {"_target_": "minefield.f"}})


@pytest.mark.parametrize(
    "logging",
    [
        {"handlers": {"x": {"()": "pathlib.Path"}}},
        {"filters": {"x": {"()": "torch.load"}}},
        {"formatters": {"x": {"class": "mine.Formatter"}}},
        {"handlers": {"x": {"class": "logging.StreamHandler", "stream": "ext://os.environ"}}},
        {"handlers": {"x": {"class": "logging.StreamHandler", "stream": "cfg://handlers.y"}}},
        {"handlers": {"x": {"class": "logging.handlers.QueueHandler", "queue": "mine.queue"}}},
        {"handlers": {"x": {"class": "logging.StreamHandler", ".": {"a": ["ext://mine.module"]}}}},
    ],
    ids=str,
)
def test_logging_names_only_what_hydra_itself_names(logging: dict):
    for node in ("job_logging", "hydra_logging"):
        with pytest.raises(UserError, match=rf"^hydra\.{node}\."):
            check_hydra_targets({node: logging})


@pytest.mark.parametrize("arguments", [{"_partial_": True}, {"_args_": ["/x"]}, {"_recursive_": False}])
def test_how_it_would_be_called_changes_nothing(arguments: dict):
    with pytest.raises(UserError):
        check_targets({"a": {"_target_": "torch.load", **arguments}})
    with pytest.raises(UserError):
        check_targets({"a": {"_target_": "torch.optim.AdamW", "_args_": [{"_target_": "torch.load"}]}})


@pytest.mark.slow
def test_the_command_line_refuses_before_anything_is_called(tmp_path: Path):
    done = command(str(ROOT / "train.py"), "callbacks.epoch_log._target_=torch.load", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 1
    assert "callbacks.epoch_log._target_=torch.load is refused" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "hidden",
    [
        ["+callbacks.x=\"${oc.decode:'{_target_: os.getcwd}'}\""],
        ["+callbacks.x._target_=${x}", "+x=os.getcwd"],
        ["+callbacks.x=${x}", "+x={_target_: os.getcwd}"],
        ["+callbacks.x._target_=${oc.select:nothing,os.getcwd}"],
    ],
    ids=lambda hidden: hidden[0],
)
def test_a_value_that_comes_by_interpolation_is_seen(
    hidden: list[str],
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    capsys: pytest.CaptureFixture[str],
):
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", *hidden)
    assert "callbacks.x._target_=os.getcwd is refused" in capsys.readouterr().err


def test_a_run_folder_is_not_trusted_either(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    saved = folder / ".hydra" / "config.yaml"
    text = saved.read_text()
    planted = f"_target_: pathlib.Path.write_text\n  self: {tmp_path}/x\n  data: x"
    assert "_target_: torch.optim.AdamW" in text
    saved.write_text(text.replace("_target_: torch.optim.AdamW", planted))
    for arguments in (["predict", str(folder), "--text", "a good film"], ["evaluate", str(folder)]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 1
        assert "optimizer._target_=pathlib.Path.write_text is refused" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
