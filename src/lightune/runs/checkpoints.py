"""Checkpoints on disk: whole or not there at all, and never more than tensors and plain values."""

import errno
import os
import pickle
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lightune.common.errors import UserError
from lightune.models.weights import unsafe_pickle_message

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class CheckpointIO(TorchCheckpointIO):
    """Write beside the target, wait for the disk, then rename: whatever is killed when, one whole file is there.

    Lightning writes to the system's temporary folder and moves the file, which is a copy where that folder lies on
    another file system: a kill in its middle leaves part of a checkpoint under the name of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            UserError: the disk is full, or the folder cannot be written; what was there before is as it was.
        """
        target = Path(path)
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _sync_folder(target.parent)
        except (OSError, RuntimeError) as error:  # torch wraps what the system says, and loses its number
            with suppress(OSError):
                temporary.unlink()
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            why = "the disk is full" if cause.errno in DISK_FULL else str(cause.strerror)
            raise UserError(
                f"Cannot write {target}: {why}.\n"
                "The checkpoints that are there stay as they were. Make room or choose another folder, then go on:\n"
                f"lightune resume {target.parent.parent}"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> Any:
        """Read a checkpoint; a pickle that asks for code is refused, whatever the caller says."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values, nothing that could run.

    Raises:
        UserError: it holds anything else, or is damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(unsafe_pickle_message(path, error)) from error
    except Exception as error:  # damaged bytes make the reader fail in any way
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "it ends too early"
        raise UserError(f"{path} cannot be loaded: {reason}") from error
    return checkpoint


def newest_loadable(paths: Iterable[Path]) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint that training can go on from.

    Args:
        paths: of checkpoints, in any order.

    Returns:
        The newest that can be read, or None, and what is wrong with each of those that are newer.
    """
    damaged: list[str] = []
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            found = read_checkpoint(path)
            missing = {"state_dict", "optimizer_states", "loops"} - set(found)
            if not missing:
                return path, damaged
            damaged.append(f"{path.name} (it lacks {', '.join(sorted(missing))})")
        except UserError as error:
            damaged.append(str(error).splitlines()[0])
    return None, damaged


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too. Not every system can open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
