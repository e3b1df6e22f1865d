"""When training began, with how much memory, when it ended, and how long a test took."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from lightning import Callback
from speed import run


class Clock(Callback):
    """Write a file of JSON: ``began`` and ``ended``, in seconds since 1970, and ``own_memory_bytes`` when training began.

    A process's own memory is without the pages of mapped files, which the system takes back when it needs them.
    ``test_seconds`` is there after a test.
    """

    def __init__(self, *, path: str) -> None:
        self.path = Path(path)
        self.figures: dict[str, float] = {}

    def on_train_start(self, *_: Any) -> None:
        memory = psutil.Process().memory_info()
        self.figures = {"began": time.time(), "own_memory_bytes": memory.rss - memory.shared}

    def on_train_batch_end(self, *_: Any) -> None:
        self.figures["ended"] = time.time()

    def on_train_end(self, *_: Any) -> None:
        self.path.write_text(json.dumps(self.figures))

    def on_test_start(self, *_: Any) -> None:
        self.figures["test_seconds"] = -time.time()

    def on_test_end(self, *_: Any) -> None:
        self.figures["test_seconds"] += time.time()
        self.on_train_end()


def timed_train(*overrides: str, **env: str) -> dict[str, float]:
    """Run ``train.py`` with a clock; return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        clock = ["+callbacks.clock._target_=clock.Clock", f"+callbacks.clock.path={folder}/clock.json"]
        # code of one's own: where it lies, and that a configuration may call it
        env |= {"PYTHONPATH": str(Path(__file__).parent), "LIGHTUNE_ALLOWED_TARGETS": "clock.Clock"}
        run("train.py", *overrides, *clock, **env)
        figures: dict[str, float] = json.loads((Path(folder) / "clock.json").read_text())
    return figures
