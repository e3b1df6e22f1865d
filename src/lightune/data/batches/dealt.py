"""The rows that are left of an epoch when a run is resumed, perhaps with batches of another size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning import Trainer

from lightune.common.trainer_state import limited
from lightune.data.batches.sampler import LengthGroupedBatches


@dataclass
class Dealt:
    """How far a run came before it was resumed: its steps, its epochs, and the number of the next epoch's next batch.

    ``start`` is None for a run that is not resumed. ``rows`` are those that this epoch's batches of other kinds have left;
    a kind is ``batch_size``, ``max_tokens`` and ``world_size``.
    """

    steps: int = 0
    epoch: int = 0
    start: int | None = None
    rows: np.ndarray | None = None

    def left(self, epoch: int) -> np.ndarray | None:
        """Return the rows that are left of an epoch; None: all."""
        return self.rows if epoch == self.epoch else None

    def state(self, trainer: Trainer, kind: list[Any]) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress
        rows = self.left(trainer.current_epoch)
        return {
            "position": [trainer.global_step, trainer.current_epoch, progress.current.processed],
            "kind": kind,
            "rows": None if rows is None else torch.from_numpy(rows),
            "epoch_is_done": progress.is_last_batch,
        }

    def load(
        self, state: dict[str, Any], trainer: Trainer, make: Callable[..., LengthGroupedBatches], kind: list[Any]
    ) -> None:
        """Go on from a checkpoint, in batches of this kind; ``make`` makes those of any."""
        self.steps, self.epoch, self.start = state["position"]
        self.rows = None if state["rows"] is None else state["rows"].numpy()
        if state["kind"] != kind:
            self.rows = make(*state["kind"], epoch=self.epoch, start=self.start, rows=self.rows).rest()
            batches = make(*kind, epoch=self.epoch, rows=self.rows)
            end = limited(len(batches), trainer.limit_train_batches)
            self.start = end if state["epoch_is_done"] else min(batches.first(), end)
