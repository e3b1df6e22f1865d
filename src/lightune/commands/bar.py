"""A progress bar for what is read of a file."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any


@contextmanager
def progress_bar(*, shown: bool) -> Iterator[Callable[[int, float], None]]:
    """Give a function that takes the rows of each batch, and the share of the file that is done."""
    if not shown:
        yield lambda rows, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns: list[Any] = [
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task, begun, done = progress.add_task("", total=1.0), monotonic(), 0

        def on_batch(rows: int, share: float) -> None:
            nonlocal done
            done += rows
            speed = done / (monotonic() - begun)
            progress.update(task, completed=share, description=f"{done:,} rows, {speed:,.0f} rows/s")

        yield on_batch
