"""Import the large libraries in less time: they are most of what a command waits for."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from lightune.common.cores import wait_briefly


@contextmanager
def fast_imports() -> Iterator[None]:
    """Import without the garbage collector, which would look through all modules again and again.

    What is imported stays out of later collections, too.
    """
    wait_briefly()
    gc.disable()
    try:
        _import_torchmetrics()
        yield
    finally:
        gc.freeze()
        gc.enable()


def _import_torchmetrics() -> None:
    """Import it without ``scipy.signal``, to which it only adds a name for an audio package."""
    modules: dict[str, Any] = sys.modules
    if "torchmetrics" in modules or "scipy.signal" in modules:
        return
    modules["scipy.signal"] = SimpleNamespace(hamming=None)
    try:
        import torchmetrics  # noqa: F401
    finally:
        del modules["scipy.signal"]
