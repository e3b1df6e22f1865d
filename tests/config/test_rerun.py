"""A run is composed again from the folders and the file that it was composed from."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.config import resume_arguments, settings_and_command
from lightune.config.rerun import composed_from
from lightune.config.restart import restart_arguments


def node(cwd: Path, *sources: tuple[str, str], name: str = "train", schema: str = "file") -> Any:
    found = [{"provider": "main", "path": "/shipped", "schema": "file"}]
    found += [{"provider": provider, "path": path, "schema": schema} for provider, path in sources]
    return {"runtime": {"cwd": str(cwd), "config_sources": found}, "job": {"config_name": name}}


ADDED = (
    ("command-line", "/conf"),
    ("hydra.searchpath in command-line", "more yaml"),
    ("hydra.searchpath in main", "/x"),
)


def test_folders_are_named_by_their_full_path_and_options_come_first(tmp_path: Path):
    assert composed_from(OmegaConf.create(node(tmp_path))) == []
    assert composed_from(OmegaConf.create(node(tmp_path, *ADDED, name="mine"))) == [
        *("--config-dir", "/conf", "--config-name", "mine"),
        f"hydra.searchpath=['{tmp_path}/more yaml','/x']",
    ]
    module = node(tmp_path, ("hydra.searchpath in command-line", "acme.conf"), schema="pkg")
    assert composed_from(OmegaConf.create(module)) == ["hydra.searchpath=['pkg://acme.conf']"]


def saved(folder: Path, hydra: Any) -> Path:
    (folder / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save({"hydra": hydra}, folder / ".hydra" / "hydra.yaml")
    OmegaConf.save(["data=mine"], folder / ".hydra" / "overrides.yaml")
    OmegaConf.save({"seed": 0}, folder / ".hydra" / "config.yaml")
    overrides = {"task": ["seed=0,1"], "hydra": ["hydra.searchpath=[pkg://planted]"]}
    OmegaConf.save({"hydra": {**hydra, "overrides": overrides}}, folder / "multirun.yaml")
    return folder


def test_a_run_and_a_sweep_go_on_with_their_folders(tmp_path: Path):
    (tmp_path / "conf").mkdir()
    folder = saved(tmp_path, node(tmp_path, ("command-line", "conf")))
    # an empty search path: no file may name another
    kept = ["--config-dir", f"{tmp_path}/conf", "hydra.searchpath=[]"]
    assert resume_arguments(folder)[0][:4] == [*kept, "data=mine"]
    assert restart_arguments(folder, overrides=[])[0][:5] == ["-m", *kept, "seed=0,1"]
    assert settings_and_command(folder)[1] == f"python train.py --config-dir {tmp_path}/conf data=mine"


@pytest.mark.parametrize("schema", ["file", "pkg"])
def test_a_folder_that_is_gone_is_named_and_may_be_named_anew(tmp_path: Path, schema: str):
    folder = saved(tmp_path, node(tmp_path, ("hydra.searchpath in main", "gone"), name="mine", schema=schema))
    for resumed in (resume_arguments, restart_arguments):
        with pytest.raises(UserError, match=f"YAML of {tmp_path}/gone, which is no folder here"):
            resumed(folder, overrides=[])
        arguments, _ = resumed(folder, overrides=["hydra.searchpath=[/here]"])
        assert "--config-name" in arguments and not [word for word in arguments if "searchpath" in word]


def test_a_run_of_another_project_may_bring_its_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.lightune]\npackages = []\n")
    folder = saved(tmp_path / "run", node(tmp_path, ("lightune", f"{tmp_path}/conf")))
    assert f"hydra.searchpath=['{tmp_path}/conf']" in resume_arguments(folder)[0]
    monkeypatch.setenv("LIGHTUNE_PROJECT", str(tmp_path))
    assert resume_arguments(folder)[0][0] == "data=mine"
