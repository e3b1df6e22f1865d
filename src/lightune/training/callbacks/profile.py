"""A profile of a few training steps."""

import logging
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger(__name__)

# Steps. The first ones also map memory and compile kernels.
WAIT, WARMUP, ACTIVE = 3, 1, 10
TABLE_ROWS = 25


class Profile(Callback):
    """Record ten early training steps with torch's profiler.

    Writes ``trace.json.gz``, a time line for Perfetto or Chrome's tracing page, and ``table.txt``, the operators that
    took longest, without the time of the operators they call. The folder is created once something was recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._profiler: profile | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._profiler = profile(
            activities=activities,
            schedule=schedule(wait=WAIT, warmup=WARMUP, active=ACTIVE, repeat=1),
            on_trace_ready=self._write,
            profile_memory=True,
        )
        self._profiler.start()

    def on_train_batch_end(self, *_: Any) -> None:
        if self._profiler is not None:
            self._profiler.step()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._profiler is None:
            return
        self._profiler.stop()
        if not (self.folder / "table.txt").exists():
            log.warning(f"profile=true: a run of {WAIT + WARMUP} steps or fewer is too short to record")

    def _write(self, profiler: profile) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self.folder / "trace.json.gz"))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        table = profiler.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=TABLE_ROWS)
        (self.folder / "table.txt").write_text(table, encoding="utf-8")
