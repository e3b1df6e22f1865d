"""Where a command writes: the screen or a file, and a progress bar beside it."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from lightune.common.errors import UserError, listed
from lightune.common.files import atomic_file

HTML = (".html", ".htm")


def check_out(path: Path | None, *, endings: Collection[str]) -> None:
    """Refuse a file that cannot be written or that exists, before anything is computed.

    Raises:
        UserError: there is no folder for it, something has its name, or its ending names no format of the command.
    """
    if path is None:
        return
    if path.exists():
        raise UserError(f"--out {path} exists already, and is left as it is. Name a new file.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}.")
    if path.suffix.lower() not in endings:
        raise UserError(f"--out {path}: expected a name that ends with {listed(endings)}.")


def write_out(path: Path, text: str) -> None:
    """Write a file, completely or not at all, and print its name; a UserError says why it cannot be written."""
    try:
        with atomic_file(path) as file:
            print(text, file=file)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error
    print(path)


@contextmanager
def progress_bar(*, visible: bool) -> Iterator[Callable[[int, float], None]]:
    """Yield a function that takes a batch's number of rows and the share of the file that is done, 0 to 1."""
    if not visible:
        yield lambda rows, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    text: Any = TextColumn("{task.description}")
    columns = BarColumn(), TaskProgressColumn(), text, TimeRemainingColumn()
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task, start, done = progress.add_task("", total=1.0), monotonic(), 0

        def on_batch(rows: int, share: float) -> None:
            nonlocal done
            done += rows
            speed = done / (monotonic() - start)
            progress.update(task, completed=share, description=f"{done:,} rows, {speed:,.0f} rows/s")

        yield on_batch
