"""What lies on disk when saving a checkpoint goes wrong."""

from pathlib import Path

import pytest
import torch

from lightune.common.errors import UserError
from lightune.runs.checkpoint_io import CheckpointIO, newest_loadable

WHOLE = {"state_dict": {"w": torch.ones(3)}, "optimizer_states": [], "loops": {}}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "checkpoints"
    CheckpointIO().save_checkpoint(WHOLE, folder / "last.ckpt")
    return folder


def test_nothing_but_the_checkpoint_is_left(checkpoints: Path):
    assert [path.name for path in checkpoints.iterdir()] == ["last.ckpt"]
    assert torch.equal(CheckpointIO().load_checkpoint(checkpoints / "last.ckpt")["state_dict"]["w"], torch.ones(3))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' device that is always full")
def test_a_full_disk_is_said_and_the_old_checkpoint_stays(checkpoints: Path):
    (checkpoints / ".last.ckpt.tmp").symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full") as full:
        CheckpointIO().save_checkpoint({**WHOLE, "more": torch.zeros(100_000)}, checkpoints / "last.ckpt")
    assert "lightune resume" in str(full.value)
    assert len(str(full.value).splitlines()) <= 5
    assert newest_loadable(checkpoints.glob("*.ckpt")) == (checkpoints / "last.ckpt", [])
    assert not (checkpoints / ".last.ckpt.tmp").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"last\.ckpt: File exists"):
        CheckpointIO().save_checkpoint(WHOLE, tmp_path / "file" / "last.ckpt")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "cannot be loaded"),
        (lambda path: path.write_bytes(b""), "cannot be loaded"),
        (lambda path: torch.save({"state_dict": {}}, path), "it lacks loops, optimizer_states"),
    ],
    ids=["cut off", "empty", "weights only"],
)
def test_the_newest_that_can_be_read_is_found(checkpoints: Path, damage, said: str):
    newer = checkpoints / "newer.ckpt"
    CheckpointIO().save_checkpoint(WHOLE, newer)
    damage(newer)
    found, damaged = newest_loadable([checkpoints / "last.ckpt", newer])
    assert found == checkpoints / "last.ckpt"
    assert len(damaged) == 1
    assert "newer.ckpt" in damaged[0]
    assert said in damaged[0]
