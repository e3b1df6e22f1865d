"""Call a function in a process of its own."""

import multiprocessing
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from lightune.common.errors import UserError


def in_subprocess(function: str, *args: Any, **kwargs: Any) -> Any:
    """Call a function, named as ``package.module:function``, in a new process and return its result.

    Only the new process imports the module: Linux counts the parent's memory in a new process's peak, so the parent
    must stay small.

    Raises:
        UserError: the function raised one, or its process was killed.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_call, function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise UserError(
                "The measuring process was killed, most likely because memory ran out.\n"
                "Lower data.batch_size or data.max_length, or set data.max_tokens_per_batch."
            ) from error


def _call(function: str, *args: Any, **kwargs: Any) -> Any:
    return pkgutil.resolve_name(function)(*args, **kwargs)
