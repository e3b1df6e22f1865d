"""A sweep is started again from its folder, which cannot vouch for what would run code."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.sweeps.restart import sweep_started_with


def saved(folder: Path, *, task: list[str], hydra: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    overrides = {"task": task, "hydra": ["hydra.mode=MULTIRUN", "hydra.sweep.dir=somewhere", *hydra]}
    OmegaConf.save(
        {"hydra": {"overrides": overrides, "runtime": {"cwd": "/started"}}}, folder / "multirun.yaml"
    )
    return folder


def test_a_sweep_is_started_again_in_its_folder(tmp_path: Path):
    folder = saved(
        tmp_path / "it's a sweep",
        task=["sweep=optuna", "optimizer.lr=interval(1e-5,1e-3)"],
        hydra=["hydra/launcher=joblib"],
    )
    assert sweep_started_with(folder, given=[]) == (
        [
            *("-m", "sweep=optuna", "optimizer.lr=interval(1e-5,1e-3)", "hydra/launcher=joblib"),
            f"hydra.sweep.dir='{tmp_path}/it\\'s a sweep'",
        ],
        Path("/started"),
    )


@pytest.mark.parametrize("planted", ["+hydra.callbacks.x._target_=os.system", "hydra.launcher.setup=[rm]"])
def test_what_may_run_code_is_to_be_said_again(planted: str, tmp_path: Path):
    folder = saved(tmp_path, task=["seed=0,1"], hydra=[planted])
    with pytest.raises(UserError, match="which may run code"):
        sweep_started_with(folder, given=[])
    overrides, _ = sweep_started_with(folder, given=[planted])
    assert planted not in overrides  # the person's own word is used, not the file's


@pytest.mark.parametrize("planted", ["--config-dir=/x", "hydra.launcher=x", "+hydra.run.dir=/x"])
def test_what_is_no_setting_of_a_run_is_refused(planted: str, tmp_path: Path):
    with pytest.raises(UserError, match="is not a setting of a run"):
        sweep_started_with(saved(tmp_path, task=[planted], hydra=[]), given=[])


def test_a_damaged_file_is_named(tmp_path: Path):
    (tmp_path / "multirun.yaml").write_text("hydra: [")
    with pytest.raises(UserError, match=r"multirun\.yaml cannot be read"):
        sweep_started_with(tmp_path, given=[])
