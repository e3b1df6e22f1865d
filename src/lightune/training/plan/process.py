"""A function in a process of its own."""

import multiprocessing
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from lightune.common.errors import UserError


def in_subprocess(function: str, *args: Any, **kwargs: Any) -> Any:
    """Call a function in a new process; return what it returns.

    Args:
        function: its whole name. It is imported there alone: a process is told to have held what the one held that has
            started it, so this one stays small.
        args: of the function.
        kwargs: likewise.

    Raises:
        UserError: it raised one, or the process was killed.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_call, function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise UserError(
                "The process that measured was killed, most likely because memory ran out.\n"
                "Lower data.batch_size or data.max_length, or set data.max_tokens_per_batch."
            ) from error


def _call(function: str, *args: Any, **kwargs: Any) -> Any:
    return pkgutil.resolve_name(function)(*args, **kwargs)
