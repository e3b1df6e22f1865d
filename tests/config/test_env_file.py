"""A ``.env`` file sets what is not set, and vouches for nothing."""

import os
from pathlib import Path

import pytest
from conftest import ROOT, command

from lightune.common.errors import UserError
from lightune.config import read_env_file


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "environ", {"SET": "shell", "PATH": os.environ["PATH"]})
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".env"


def test_what_is_set_already_stays(env_file: Path):
    env_file.write_text("# a comment\nSET=file\nexport NEW='a b'\nBOTH=${NEW}-${SET}\nEMPTY=\nBARE\n", encoding="utf-8")
    read_env_file()
    expected = {"SET": "shell", "NEW": "a b", "BOTH": "a b-shell", "EMPTY": ""}
    assert {name: value for name, value in os.environ.items() if not name.startswith("P")} == expected


def test_what_vouches_for_code_is_left_out_and_told(env_file: Path, capsys: pytest.CaptureFixture[str]):
    names = [
        "LIGHTUNE_ALLOWED_TARGETS",
        "LIGHTUNE_TRUST_REMOTE_CODE",
        "LIGHTUNE_PROJECT",
        "LIGHTUNE_RESUMED",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "LD_PRELOAD",
    ]
    env_file.write_text("".join(f"{name}=x\n" for name in [*names, "HF_TOKEN", "LIGHTUNE_CACHE", "PATH"]))
    read_env_file()
    assert (
        not {*names} & {*os.environ}
        and os.environ["HF_TOKEN"] == os.environ["LIGHTUNE_CACHE"] == "x"
        and os.environ["PATH"] != "x"
    )
    told = capsys.readouterr().err
    assert all(f"{env_file} may not set {name}: it vouches for code" in told for name in names)


def test_a_runs_folder_sets_nothing(env_file: Path):
    env_file.write_text("NEW=1\n")
    (env_file.parent / ".hydra").mkdir()
    read_env_file()
    assert "NEW" not in os.environ


def test_what_cannot_be_read_is_named(env_file: Path):
    env_file.write_bytes(b"NEW=\xff\n")
    with pytest.raises(UserError, match=r"\.env cannot be read"):
        read_env_file()
    env_file.unlink()
    # a virtual environment may have the name
    env_file.mkdir()
    read_env_file()


@pytest.mark.parametrize("arguments", [["--cfg", "job", "--resolve"], ["trainer=cpu", "-m", "seed=0,1"]])
def test_training_reads_it_before_the_configuration(tmp_path: Path, arguments: list[str]):
    (tmp_path / ".env").write_text("ROWS=nowhere.csv\n")
    done = command(str(ROOT / "train.py"), "data=local", "data.path=${oc.env:ROWS}", *arguments, cwd=tmp_path)
    assert "nowhere.csv" in done.stdout + done.stderr


def test_commands_read_it(tmp_path: Path, finished_run: Path):
    from omegaconf import OmegaConf

    saved = finished_run / ".hydra" / "config.yaml"
    text = saved.read_text()
    cfg = OmegaConf.load(saved)
    cfg.trainer.precision = "${oc.env:PRECISION}"
    try:
        OmegaConf.save(cfg, saved)
        arguments = ["-m", "lightune.commands", "predict", str(finished_run), "--text", "dire"]
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 1 and len(done.stderr.splitlines()) <= 5
        assert "trainer.precision takes the environment variable PRECISION, which is not set" in done.stderr
        (tmp_path / ".env").write_text("PRECISION=32-true\n")
        assert '"negative"' in command(*arguments, cwd=tmp_path).stdout
    finally:
        saved.write_text(text)
