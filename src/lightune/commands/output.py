"""Where a command writes: the screen or a file, and a progress bar beside it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from lightune.common.errors import UserError
from lightune.common.files import atomic_file


def check_out(path: Path | None) -> None:
    """Refuse a file that cannot be written or that exists, before anything is computed.

    Raises:
        UserError: there is no folder for it, or something has its name.
    """
    if path is None:
        return
    if path.exists():
        raise UserError(f"--out {path} exists already, and is left as it is. Name a new file.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}.")


@contextmanager
def output(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes a line to the screen, or to a file that appears once it is complete.

    Raises:
        UserError: the file cannot be written.
    """
    if path is None:
        yield print
        return
    try:
        with atomic_file(path) as file:
            yield lambda line: print(line, file=file)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error


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
