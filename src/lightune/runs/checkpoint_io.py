"""Checkpoints on disk: complete or not there at all, and only tensors and plain values."""

import errno
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lightune.common.errors import UserError
from lightune.common.files import atomic_file
from lightune.models.weights import unsafe_pickle_message

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class CheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its target, wait for the disk, then rename it: a kill never damages the last good one.

    Lightning writes to the system's temporary folder and moves the file. Where that folder lies on another file system
    the move is a copy, and a kill during it leaves part of a checkpoint under the name of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            UserError: the disk is full, or the folder cannot be written; the older checkpoint is unchanged.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target, "wb", sync=True) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch wraps the system's error, and loses its number
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            reason = "the disk is full" if cause.errno in DISK_FULL else str(cause.strerror)
            raise UserError(
                f"Cannot write {target}: {reason}.\n"
                "The existing checkpoints are unchanged. Make room or choose another folder, then go on:\n"
                f"lightune resume {target.parent.parent}"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> Any:
        """Read a checkpoint; a pickle that would run code is refused, whatever ``weights_only`` says."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's tensors and plain values; raise a UserError for anything else, or for damage."""
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(unsafe_pickle_message(path, error)) from error
    except Exception as error:
        # damaged bytes make the reader fail in any way
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "it ends too early"
        raise UserError(f"{path} cannot be loaded: {reason}") from error
    return checkpoint


def newest_loadable(paths: Iterable[Path]) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint that training can go on from, or None, and the problems of each newer one."""
    damaged: list[str] = []
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            missing = {"state_dict", "optimizer_states", "loops"} - set(read_checkpoint(path))
            if not missing:
                return path, damaged
            damaged.append(f"{path.name} (it lacks {', '.join(sorted(missing))})")
        except UserError as error:
            damaged.append(str(error).splitlines()[0])
    return None, damaged
