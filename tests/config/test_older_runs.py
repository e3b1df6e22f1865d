"""A run that was made before the package was renamed and its configuration gathered still works."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lightune.commands import cli
from lightune.config.older_runs import MOVED, renamed, upgraded

NOW_TO_OLD = {
    "lightune.models.pretrained.": "finetune.pretrained.",
    "lightune.runs.teacher.": "finetune.distill.",
    "lightune.training.callbacks.FailFast": "finetune.callbacks.Trouble",
    "lightune.training.callbacks.CacheFrozenLayers": "finetune.callbacks.FrozenOnce",
    "lightune.training.callbacks.": "finetune.callbacks.",
    "lightune.tuning.freezing.": "finetune.tuning.",
    "lightune.tuning.optimizer_and_schedule.": "finetune.optim.",
    "lightune.data.": "finetune.data.",
    "lightune.tasks.": "finetune.tasks.",
}


def with_old_targets(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: with_old_targets(value) for key, value in node.items()}
    if isinstance(node, str):
        for now, old in NOW_TO_OLD.items():
            if node.startswith(now):
                return old + node.removeprefix(now)
    return node


@pytest.fixture
def older_run(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run whose configuration is written as the package ``finetune`` wrote it."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    file = run / ".hydra" / "config.yaml"
    cfg: Any = with_old_targets(OmegaConf.to_container(OmegaConf.load(file)))
    readers = {
        "datamodule": ("path", "name", "revision", "train_split", "batch_size", "max_eval_samples"),
        "preprocessor": ("text_columns", "label_column", "label_names", "max_length", "truncation"),
    }
    cfg["datamodule"] = {"_target_": "finetune.data.DataModule", "seed": "${seed}"}
    for node, names in readers.items():
        cfg[node] |= {name: f"${{data.{name}}}" for name in names}
    cfg["task"] |= {name: f"${{{name}}}" for name in ("tuning", "optimizer", "scheduler")}
    del cfg["data"]["label_separator"]
    for option in ("plan", "find", "layerwise_lr_decay"):
        del cfg[option]
    cfg["callbacks"]["own"] = {"_target_": "somebody.elses.Callback"}
    OmegaConf.save(cfg, file)
    assert "lightune" not in file.read_text()
    return run


def test_commands_work_on_an_older_run(older_run: Path, capsys: pytest.CaptureFixture[str]):
    figures = json.loads((older_run / "metrics.json").read_text())
    cli.main(["evaluate", str(older_run)])
    assert f"{figures['test/accuracy']:.4f}" in capsys.readouterr().out
    cli.main(["predict", str(older_run), "--text", "a good film"])
    assert '"label"' in capsys.readouterr().out


def test_an_upgraded_configuration_repeats_nothing(older_run: Path):
    saved: Any = OmegaConf.to_container(OmegaConf.load(older_run / ".hydra" / "config.yaml"))
    cfg = upgraded(saved)
    assert "datamodule" not in cfg
    assert not {*cfg["task"]} & {"tuning", "optimizer", "scheduler"}
    assert {*cfg["preprocessor"]} == {"_target_"}
    assert cfg["callbacks"]["trouble"]["_target_"] == "lightune.training.callbacks.FailFast"


@pytest.mark.parametrize("old", MOVED)
def test_every_moved_name_leads_to_something_that_is_there(old: str):
    from pkgutil import resolve_name

    assert resolve_name(renamed(old).rstrip("."))


def test_an_override_that_names_an_old_target_is_renamed():
    override = "+callbacks.own._target_=finetune.callbacks.Trouble"
    assert renamed(override) == "+callbacks.own._target_=lightune.training.callbacks.FailFast"
