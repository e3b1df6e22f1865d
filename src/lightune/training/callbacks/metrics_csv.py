"""``metrics.csv``: what a run measured, by step and by validation."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from lightune.training.callbacks.throughput import is_log_step

FIRST = ("epoch", "step")


class MetricsCSV(Callback):
    """Write a row every ``trainer.log_every_n_steps`` steps and one after each validation.

    A row is in the file before the checkpoint of its step is saved, and the checkpoint knows how many rows there are. So a
    resumed run cuts off what came after its checkpoint, and goes on without a row twice or missing.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self._rows = 0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rows = state_dict["rows"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.path.exists():
            rows = self._read()[: self._rows]
            self._columns = list(rows[0]) if rows else []
            self._write_anew(rows)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if is_log_step(trainer):
            self._add(trainer, "train/")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._add(trainer, "val/")

    def _add(self, trainer: Trainer, prefix: str) -> None:
        self._rows += 1
        if not trainer.is_global_zero:
            return
        found = {
            name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)
        }
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, **found}
        new = [name for name in row if name not in self._columns]
        if new:
            rows = self._read() if self._columns else []
            self._columns = [*FIRST, *sorted({*self._columns, *new} - set(FIRST))]
            self._write_anew(rows)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _read(self) -> list[dict[str, str]]:
        with self.path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _write_anew(self, rows: list[dict[str, str]]) -> None:
        """Replace the file by these rows under the present columns, whole or not at all."""
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            if self._columns:
                writer = csv.DictWriter(file, self._columns)
                writer.writeheader()
                writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
