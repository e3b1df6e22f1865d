"""A sweep is started again from its folder, without settings that may run code."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.config.restart import restart_arguments


def saved(folder: Path, *, task: list[str], hydra: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    overrides = {"task": task, "hydra": ["hydra.mode=MULTIRUN", "hydra.sweep.dir=somewhere", *hydra]}
    OmegaConf.save({"hydra": {"overrides": overrides, "runtime": {"cwd": "/started"}}}, folder / "multirun.yaml")
    return folder


def test_a_sweep_is_started_again_in_its_folder(tmp_path: Path):
    folder = saved(
        tmp_path / "it's a sweep",
        task=["sweep=optuna", "optimizer.lr=interval(1e-5,1e-3)", "+logger.x=${hydra:runtime.cwd}"],
        hydra=["hydra/launcher=joblib"],
    )
    assert restart_arguments(folder, overrides=[]) == (
        [
            *(
                "-m",
                "sweep=optuna",
                "optimizer.lr=interval(1e-5,1e-3)",
                "+logger.x=${hydra:runtime.cwd}",
                "hydra/launcher=joblib",
            ),
            f"hydra.sweep.dir='{tmp_path}/it\\'s a sweep'",
        ],
        Path("/started"),
    )


@pytest.mark.parametrize("planted", ["+hydra.callbacks.x._target_=os.system", "hydra.launcher.setup=[rm]"])
def test_a_setting_that_may_run_code_must_be_repeated(planted: str, tmp_path: Path):
    folder = saved(tmp_path, task=["seed=0,1"], hydra=[planted])
    with pytest.raises(UserError, match="which may run code"):
        restart_arguments(folder, overrides=[])
    overrides, _ = restart_arguments(folder, overrides=[planted])
    # the person's setting is used, not the file's
    assert planted not in overrides


@pytest.mark.parametrize("planted", ["--config-dir=/x", "hydra.launcher=x", "+hydra.run.dir=/x"])
def test_arguments_that_are_not_settings_of_a_run_are_refused(planted: str, tmp_path: Path):
    with pytest.raises(UserError, match="is not a setting of a run"):
        restart_arguments(saved(tmp_path, task=[planted], hydra=[]), overrides=[])


def test_a_damaged_file_is_named(tmp_path: Path):
    (tmp_path / "multirun.yaml").write_text("hydra: [")
    with pytest.raises(UserError, match=r"multirun\.yaml cannot be read"):
        restart_arguments(tmp_path, overrides=[])
