"""Import the large libraries in less time: they are most of what a command waits for."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any


@contextmanager
def fast_imports() -> Iterator[None]:
    """Import without the garbage collector, which would look through all modules again and again.

    What is imported stays out of later collections, too. Torch's threads will share their cores with other work.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        # A thread that waits for the others looks 300,000 times before it sleeps. 1,000 is what libgomp itself takes where it
        # knows of more threads than cores. Source: its manual. It is read when torch is imported.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
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
