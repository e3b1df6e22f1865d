"""Import the large libraries in less time: they are most of what a command waits for."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace

# a sweep's next job would keep what the one before has left
_freeze_once = cache(gc.freeze)


@contextmanager
def fast_imports() -> Iterator[None]:
    """Import without the garbage collector, which would look through all modules again and again.

    What is imported first stays out of later collections, too. Torch's threads will share their cores with other work.
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
        _freeze_once()
        gc.enable()


def _import_torchmetrics() -> None:
    """Import it without ``scipy.signal``, to which it only adds a name for an audio package."""
    if "torchmetrics" in sys.modules or "scipy.signal" in sys.modules:
        return
    sys.modules["scipy.signal"] = SimpleNamespace(hamming=None)  # type: ignore[assignment]
    import torchmetrics  # noqa: F401

    del sys.modules["scipy.signal"]
