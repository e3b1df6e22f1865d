"""Files that are there whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from lightune.common.errors import UserError


@contextmanager
def atomic_file(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a file beside ``path``, and rename it to ``path`` once all is written. Text is written in UTF-8."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open(mode, encoding="utf-8" if mode == "w" else None) as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


LFS = b"version https://git-lfs"  # with which a pointer begins that stands for a file


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside the one that is wanted, and rename it when it is filled: there is no half of a model.

    Raises:
        UserError: it cannot be written.
    """
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes it private
        temporary.rename(out)
    except OSError as error:
        raise UserError(f"Cannot write {out}: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
