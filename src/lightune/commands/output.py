"""Where a command writes: the screen, or a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lightune.common.errors import UserError
from lightune.common.files import atomic_file


@contextmanager
def output(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Write lines to the screen, or to a file that appears only when it is whole."""
    if path is None:
        yield print
        return
    try:
        with atomic_file(path) as file:
            yield lambda line: print(line, file=file)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error
