"""A project of one's own beside the clone: its code and its YAML are found, by whatever goes on with its runs."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import command, write_reviews
from omegaconf import OmegaConf

from lightune.commands import cli

FILES = {
    "pyproject.toml": '[tool.lightune]\npackages = ["own_reviews"]\n',
    "train.py": "from lightune.train import main\n\nmain()\n",
    "src/own_reviews/__init__.py": "",
    "src/own_reviews/parts.py": """
import os
import torch
from lightning import Callback

class Sgd(torch.optim.SGD):
    def __init__(self, params, *, lr: float):
        super().__init__(params, lr=lr)

class Mark(Callback):
    def on_train_start(self, trainer, module):
        with open(os.path.join(trainer.default_root_dir, "mark.txt"), "a") as file:
            file.write(f"{trainer.world_size} ")
""",
    "conf/optimizer/plain.yaml": "_target_: own_reviews.parts.Sgd\n_partial_: true\nlr: 0.01\n",
    "conf/experiment/acme.yaml": """\
# @package _global_
defaults: [{override /optimizer: plain}]
callbacks:
  mark: {_target_: own_reviews.parts.Mark}
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A project, with a folder of YAML beside it that only ``--config-dir`` names."""
    folder = tmp_path_factory.mktemp("own") / "acme reviews"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    data = {"defaults": ["local"], "data": {"path": "reviews.csv", "batch_size": 8, "max_length": 32}}
    model = {"model": {"pretrained_model_name_or_path": str(tiny_bert)}, "report": False}
    for group, node in {"data/tiny": data, "model/tiny": {"defaults": ["bert"], **model}}.items():
        file = folder.parent / "more yaml" / f"{group}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text("# @package _global_\n" + OmegaConf.to_yaml(OmegaConf.create(node)))
    write_reviews(folder / "reviews.csv", 60)
    return folder


def train(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    small = ("experiment=acme", "data=tiny", "model=tiny", "trainer=cpu", "trainer.max_epochs=1")
    return command("train.py", "--config-dir", "../more yaml", *arguments, *small, cwd=project)


def resume(folder: str, *overrides: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return command("-m", "lightune.commands", "resume", folder, *overrides, cwd=cwd)


def marks(run: Path) -> list[str]:
    return (run / "mark.txt").read_text().split()


def test_a_run_on_two_devices_goes_on_and_is_measured_in_its_project_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run = project / "run"
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "hydra.run.dir=run")
    done = train(project, *two)
    assert done.returncode == 0, done.stderr
    done = resume("run", "trainer.max_epochs=2", cwd=project)
    assert done.returncode == 0, done.stderr
    assert marks(run) == ["2"] * 4

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(run)
    cli.main(["evaluate", "."])
    assert f"{json.loads((run / 'metrics.json').read_text())['test/accuracy']:.4f}" in capsys.readouterr().out

    # neither from elsewhere nor by a pyproject.toml that came with the run
    shutil.copytree(run, tmp_path / "sent")
    shutil.copy(project / "pyproject.toml", tmp_path / "sent")
    for here in (tmp_path, tmp_path / "sent"):
        monkeypatch.chdir(here)
        with pytest.raises(SystemExit):
            cli.main(["evaluate", str(tmp_path / "sent")])
        assert "own_reviews.parts.Sgd is refused" in capsys.readouterr().err
    done = resume(str(tmp_path / "sent"), "trainer.max_epochs=3", cwd=tmp_path / "sent")
    assert done.returncode == 1 and "is refused" in done.stderr, done.stderr
    assert marks(tmp_path / "sent") == ["2"] * 4


def test_a_sweep_goes_on_and_its_best_trial_is_repeated_as_printed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    done = train(project, "-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(project / "sweep" / "1")
    done = resume("sweep", cwd=project)
    assert done.returncode == 0, done.stderr
    assert marks(project / "sweep" / "1") == ["1"]
    monkeypatch.chdir(project)
    cli.main(["leaderboard", "sweep"])
    printed = capsys.readouterr().out
    python, *again = shlex.split(printed.partition("again: ")[2].strip())
    assert python == "python" and again[1:3] == ["--config-dir", str(project.parent / "more yaml")]
    done = command(*again, "hydra.run.dir=again", cwd=project)
    assert done.returncode == 0, done.stderr
    best = Path(printed.partition("best: ")[2].splitlines()[0])
    first, second = (json.loads((run / "metrics.json").read_text()) for run in (project / best, project / "again"))
    assert first["monitored"] == second["monitored"] and first["test/loss"] == second["test/loss"]


def test_yaml_that_came_with_a_run_changes_nothing_that_may_run_code(tmp_path: Path):
    run, conf = tmp_path / "run", tmp_path / "conf"
    (conf / "experiment").mkdir(parents=True)
    (conf / "experiment" / "sent.yaml").write_text("# @package _global_\nhydra: {job: {env_set: {PYTHONPATH: /x}}}\n")
    source = {"path": "conf", "schema": "file", "provider": "command-line"}
    (run / ".hydra").mkdir(parents=True)
    OmegaConf.save(["experiment=sent"], run / ".hydra" / "overrides.yaml")
    node = {"runtime": {"cwd": str(tmp_path), "config_sources": [source]}, "job": {"config_name": "train"}}
    OmegaConf.save({"hydra": node}, run / ".hydra" / "hydra.yaml")
    done = resume(str(run), cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) <= 5
    assert f"YAML that {run} names sets hydra.job.env_set, which may run code" in done.stderr
