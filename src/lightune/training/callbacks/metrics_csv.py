"""``metrics.csv``: the metrics of a run by step and by validation."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from lightune.common.files import atomic_file
from lightune.common.trainer_state import is_fitting
from lightune.training.callbacks.throughput import is_log_step

FIRST_COLUMNS = ("epoch", "step")
STAGES = ("train/", "val/", "test/")


class MetricsCSV(Callback, Logger):
    """Write a row every ``trainer.log_every_n_steps`` steps and one after each validation.

    Each row is written before the checkpoint of its step, and the checkpoint stores the number of rows. A resumed run
    drops the rows after its checkpoint, so that no row is missing or repeated.

    It is a logger too, for callbacks that need one: what they log comes into the row of the next such step.
    """

    name = version = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self._num_rows = 0
        self._logged: dict[str, float] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._logged |= {name: value for name, value in metrics.items() if name != "epoch"}

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Leave them to the run's configuration."""

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._num_rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._num_rows = state_dict["rows"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.path.exists():
            rows = self._read()[: self._num_rows]
            self._columns = list(rows[0]) if rows else []
            self._rewrite(rows)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if is_log_step(trainer):
            self._add(trainer, "train/")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_fitting(trainer):
            self._add(trainer, "val/")

    def _add(self, trainer: Trainer, prefix: str) -> None:
        self._num_rows += 1
        if not trainer.is_global_zero:
            return
        found, self._logged = self._logged | trainer.callback_metrics, {}
        metrics = {k: float(found[k]) for k in found if k.startswith(prefix) or not k.startswith(STAGES)}
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics}
        if not row.keys() <= {*self._columns}:
            rows = self._read() if self._columns else []
            self._columns = [*FIRST_COLUMNS, *sorted({*self._columns, *row} - {*FIRST_COLUMNS})]
            self._rewrite(rows)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _read(self) -> list[dict[str, str]]:
        with self.path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        """Replace the file by these rows under the present columns."""
        with atomic_file(self.path, sync=True) as file:
            if self._columns:
                writer = csv.DictWriter(file, self._columns)
                writer.writeheader()
                writer.writerows(rows)
