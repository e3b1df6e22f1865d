"""Which folder a run has, and what it may go on with."""

import os
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.config import check_checkpoints, check_resumed, hydra_folder, resume_arguments, run_folder
from lightune.runs.run_folder import Run


def checkpoint(folder: Path, name: str = "last", *, age: int = 0) -> Path:
    path = folder / "checkpoints" / f"{name}.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    return folder


def test_a_new_run_has_a_folder_of_its_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert run_folder(str(tmp_path), "now", None) == str(tmp_path / "now")


def test_resume_last_is_the_newest_that_can_go_on(tmp_path: Path):
    checkpoint(tmp_path / "a", age=10)
    checkpoint(tmp_path / "b", age=5)
    checkpoint(tmp_path / "c", "best")
    assert run_folder(str(tmp_path), "now", "last") == str(tmp_path / "b")
    assert run_folder(str(tmp_path / "none yet"), "now", "last") == str(tmp_path / "none yet" / "now")
    assert run_folder(str(tmp_path), "now", str(tmp_path / "a")) == str(tmp_path / "a")


def test_a_slurm_job_finds_its_folder_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1"])
    first = run_folder(str(tmp_path), "now", None)
    assert run_folder(str(tmp_path), "later", None) == first
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=2"])
    assert run_folder(str(tmp_path), "now", None) != first


def test_the_configuration_of_a_run_with_checkpoints_is_not_written_over(tmp_path: Path):
    assert hydra_folder(str(tmp_path)) == ".hydra"
    assert hydra_folder(str(checkpoint(tmp_path / "run"))) == ".hydra/again"


def test_other_settings_are_refused_by_name(tmp_path: Path):
    cfg = OmegaConf.create({"optimizer": {"lr": 1e-4}, "trainer": {"max_epochs": 3}, "data": {"num_workers": 0}})
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(cfg, tmp_path / ".hydra" / "config.yaml")
    cfg.trainer.max_epochs, cfg.data.num_workers = 5, 2
    check_resumed(cfg, tmp_path, overrides=())
    cfg.optimizer.lr = 2e-4
    with pytest.raises(UserError, match=r"optimizer\.lr was 0\.0001, is 0\.0002") as refused:
        check_resumed(cfg, tmp_path, overrides=())
    assert f"lightune resume {tmp_path}" in str(refused.value)


def test_an_option_that_the_folder_does_not_know_had_its_default(tmp_path: Path):
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save({"seed": 0}, tmp_path / ".hydra" / "config.yaml")
    OmegaConf.save(["seed=0"], tmp_path / ".hydra" / "overrides.yaml")
    cfg = OmegaConf.create({"seed": 0, "distill": {"alpha": 0.5}})
    check_resumed(cfg, tmp_path, overrides=["seed=0"])
    with pytest.raises(UserError, match=r"distill\.alpha was None, is 0\.5"):
        check_resumed(cfg, tmp_path, overrides=["seed=0", "distill.alpha=0.5"])


def test_a_run_is_started_again_as_it_was(tmp_path: Path):
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save({"hydra": {"runtime": {"cwd": "/somewhere"}}}, tmp_path / ".hydra" / "hydra.yaml")
    overrides = tmp_path / ".hydra" / "overrides.yaml"
    OmegaConf.save(["data=imdb", "resume=last"], overrides)
    folder = f"'{tmp_path}'"
    assert resume_arguments(tmp_path) == (
        ["data=imdb", f"hydra.run.dir={folder}", f"resume={folder}"],
        Path("/somewhere"),
    )
    for planted in ("hydra.callbacks.x._target_=os.system", "+hydra.launcher=x", "--config-dir=/x"):
        OmegaConf.save([planted], overrides)
        with pytest.raises(UserError, match="is not a setting of a run"):
            resume_arguments(tmp_path)
    with pytest.raises(UserError, match="is not the folder of a run"):
        resume_arguments(tmp_path / "nothing")


def test_a_folder_that_holds_a_run_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert not Run(tmp_path).is_resumed(asked=False)
    run = Run(checkpoint(tmp_path / "run"))
    with pytest.raises(UserError, match="holds a run already"):
        run.is_resumed(asked=False)
    assert run.is_resumed(asked=True)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run.is_resumed(asked=False)


def test_several_best_checkpoints_need_several_names():
    cfg = OmegaConf.create({"callbacks": {"checkpoint": {"save_top_k": 3, "filename": "best"}}})
    with pytest.raises(UserError, match=r"save_top_k=3 would write all to one file, best\.ckpt"):
        check_checkpoints(cfg)
    cfg.callbacks.checkpoint.filename = "best-{step}"
    check_checkpoints(cfg)


def test_the_best_of_several_is_best_ckpt(tmp_path: Path):
    run = Run(tmp_path)
    run.best.parent.mkdir()
    kept = run.best.with_name("best-step=3.ckpt")
    kept.write_text("weights")
    for _ in range(2):
        run.link_best(kept)
        assert run.best.read_text() == "weights"
    assert sorted(path.name for path in run.best.parent.iterdir()) == ["best-step=3.ckpt", "best.ckpt"]
