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
    """Write a file of JSON: when training ``began`` and ``ended``, and ``own_memory_bytes`` when it began.

    A test that follows adds ``test_began`` and ``test_ended``. All times are seconds since 1970. A process's own memory is
    without the pages of mapped files, which the system takes back when it needs them.
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
        self._write()

    def on_test_start(self, *_: Any) -> None:
        self.figures["test_began"] = time.time()

    def on_test_end(self, *_: Any) -> None:
        self.figures["test_ended"] = time.time()
        self._write()

    def _write(self) -> None:
        self.path.write_text(json.dumps(self.figures))


def timed_train(*overrides: str, **env: str) -> dict[str, float]:
    """Run ``train.py`` with a clock; return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        clock = ["+callbacks.clock._target_=clock.Clock", f"+callbacks.clock.path={folder}/clock.json"]
        # code of one's own: where it lies, and that a configuration may call it
        env |= {"PYTHONPATH": str(Path(__file__).parent), "LIGHTUNE_ALLOWED_TARGETS": "clock.Clock"}
        run("train.py", *overrides, *clock, **env)
        figures: dict[str, float] = json.loads((Path(folder) / "clock.json").read_text())
    return figures
