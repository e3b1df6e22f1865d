"""Files and folders that appear complete or not at all."""

import json
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from lightune.common.errors import UserError

# the first bytes of a Git LFS pointer, which replaces a file that was not fetched
LFS_POINTER = b"version https://git-lfs"
MAX_UNUSED_DAYS = 30


@contextmanager
def atomic_file(path: Path, mode: Literal["w", "wb"] = "w", *, sync: bool = False) -> Iterator[IO[Any]]:
    """Open a file beside ``path``, and rename it to ``path`` once all is written; ``sync`` waits for the disk.

    Text is written in UTF-8, its line ends as they are.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    encoding, newline = ("utf-8", "") if mode == "w" else (None, None)
    try:
        with temporary.open(mode, encoding=encoding, newline=newline) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if sync and os.name == "posix":
            # the disk has the new name too; only POSIX can open a folder
            descriptor = os.open(path.parent, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, completely or not at all."""
    with atomic_file(path) as file:
        file.write(json.dumps(value, indent=2) + "\n")


def refuse_archive(path: Path) -> None:
    """Raise a UserError, with the fix, if an archive stands where a folder is expected."""
    if path.is_file() and path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
        unpack = "unzip" if path.suffix.lower() == ".zip" else "tar -xf"
        raise UserError(f"{path} is an archive. Unpack it, and name the folder: {unpack} {shlex.quote(str(path))}")


def remove_unused(folder: Path, *, used: Path) -> None:
    """Mark a cached file, if it exists, as used now; remove those of its kind unused for ``MAX_UNUSED_DAYS``."""
    for file in folder.iterdir():
        # another process may remove it at the same time
        with suppress(FileNotFoundError):
            if file == used:
                file.touch()
            elif file.stat().st_mtime < time.time() - MAX_UNUSED_DAYS * 24 * 60 * 60:
                file.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a folder beside ``path``, and rename it to ``path`` once it is filled.

    Raises:
        UserError: it cannot be written; its cause is the OSError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            yield temporary
            # mkdtemp makes it private
            temporary.chmod(0o755)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error
