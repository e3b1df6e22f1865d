import pickle
import shutil
from pathlib import Path

import pytest
import torch

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.runs.checkpoint_io import read_checkpoint


class Planted:
    """What a pickle of it does when it is loaded: make a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> object:
        return Path.touch, (self.made,)


def plant(kind: str, file: Path, made: Path, **beside: object) -> None:
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Planted(made)))
    else:
        torch.save({**beside, "planted": Planted(made)}, file)


@pytest.mark.parametrize("kind", ["pickle", "checkpoint"])
def test_a_planted_pickle_is_refused_and_not_run(kind: str, tmp_path: Path):
    plant(kind, tmp_path / "last.ckpt", tmp_path / "made", state_dict={"a": torch.zeros(2)})
    with pytest.raises(UserError, match="is refused") as refused:
        read_checkpoint(tmp_path / "last.ckpt")
    assert str(tmp_path / "last.ckpt") in str(refused.value)
    assert "weights_only" not in str(refused.value), "PyTorch's advice to read it anyway"
    assert not (tmp_path / "made").exists()
    torch.load(tmp_path / "last.ckpt", weights_only=False) if kind == "checkpoint" else pickle.loads(
        (tmp_path / "last.ckpt").read_bytes()
    )
    assert (tmp_path / "made").exists(), "the plant would have worked"


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02."])
def test_a_damaged_checkpoint_is_named(content: bytes, tmp_path: Path):
    (tmp_path / "best.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"best\.ckpt"):
        read_checkpoint(tmp_path / "best.ckpt")


@pytest.mark.parametrize("kind", ["pickle", "checkpoint"])
def test_a_run_folder_with_a_planted_checkpoint_is_refused(
    kind: str, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    plant(kind, run / "checkpoints" / "best.ckpt", tmp_path / "made")
    for arguments in (["predict", str(run), "--text", "a good film"], ["evaluate", str(run)]):
        with pytest.raises(SystemExit):
            cli.main(arguments)
        said = capsys.readouterr().err
        assert "best.ckpt is refused" in said
        assert len(said.splitlines()) <= 5
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_run_folder_with_a_planted_model_file_is_refused(
    name: str, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    plant("pickle", run / "model" / name, tmp_path / "made")
    with pytest.raises(SystemExit):
        cli.main(["predict", str(run), "--text", "a good film"])
    assert "Cannot load" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_weights_beside_the_tokenizer_of_a_run_are_not_read(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    plant("checkpoint", run / "model" / "pytorch_model.bin", tmp_path / "made")
    cli.main(["predict", str(run), "--text", "a superb film"])
    assert '"label"' in capsys.readouterr().out
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["best", "last"])
def test_checkpoints_of_a_run_hold_tensors_and_plain_values_only(name: str, finished_run: Path):
    checkpoint = read_checkpoint(finished_run / "checkpoints" / f"{name}.ckpt")
    assert {"state_dict", "optimizer_states", "lr_schedulers", "callbacks"} <= set(checkpoint)
