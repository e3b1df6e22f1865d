"""When training's first step began, and when its last one ended."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning import Callback
from speed import run


class Clock(Callback):
    """Write both times, in seconds since 1970, to a file of JSON."""

    def __init__(self, *, path: str) -> None:
        self.path = Path(path)
        self.began = self.ended = 0.0

    def on_train_start(self, *_: Any) -> None:
        self.began = time.time()

    def on_train_batch_end(self, *_: Any) -> None:
        self.ended = time.time()

    def on_train_end(self, *_: Any) -> None:
        self.path.write_text(json.dumps([self.began, self.ended]))


def timed_train(*overrides: str, **env: str) -> tuple[float, float]:
    """Run ``train.py`` with a clock; return both times."""
    with tempfile.TemporaryDirectory() as folder:
        clock = ["+callbacks.clock._target_=clock.Clock", f"+callbacks.clock.path={folder}/clock.json"]
        # code of one's own: where it lies, and that a configuration may call it
        env |= {"PYTHONPATH": str(Path(__file__).parent), "LIGHTUNE_ALLOWED_TARGETS": "clock.Clock"}
        run("train.py", *overrides, *clock, **env)
        began, ended = json.loads((Path(folder) / "clock.json").read_text())
    return began, ended
