"""Which rows of an epoch a resumed run has left, though it may make other batches of them than before."""

from collections.abc import Callable
from typing import Any

from lightning import Trainer

from lightune.common.trainer_state import batch_progress, limited
from lightune.data.batches.sampler import LengthGroupedBatches

Kind = tuple[int, int | None, int]
"""Of batches: ``batch_size``, ``max_tokens``, ``world_size``."""

Make = Callable[..., LengthGroupedBatches]
"""Makes the batches of a kind, of an ``epoch``, from ``start`` on."""


class Dealt:
    """How far a run came before it was resumed, and how the rows of that epoch were dealt out, kind by kind."""

    def __init__(self) -> None:
        self.steps = self.epoch = 0
        # the number of the epoch's next batch, of the present kind; None: this run is not resumed
        self.start: int | None = None
        # kinds before the present one, each with the number of the batch at which it ended
        self._before: list[tuple[Kind, int]] = []

    def batches(self, make: Make, kind: Kind, *, epoch: int, start: int) -> LengthGroupedBatches:
        """Return the batches of an epoch, without the rows that batches of another kind have dealt out."""
        rows = None
        for earlier, end in self._before if epoch == self.epoch else []:
            rows = make(*earlier, epoch=epoch, start=end, rows=rows).rest()
        return make(*kind, epoch=epoch, start=start, rows=rows)

    def state(self, trainer: Trainer, kind: Kind) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        before = self._before if trainer.current_epoch == self.epoch else []
        return {
            "steps": trainer.global_step,
            "epoch": trainer.current_epoch,
            "dealt": [*before, (kind, batch_progress(trainer).current.processed)],
            "epoch_is_done": batch_progress(trainer).is_last_batch,
        }

    def load(self, state: dict[str, Any], trainer: Trainer, make: Make, kind: Kind) -> None:
        """Go on from a checkpoint, in batches of this kind."""
        self.steps, self.epoch, self._before = state["steps"], state["epoch"], state["dealt"]
        last, self.start = self._before[-1]
        if last == kind:
            del self._before[-1]
            return
        batches = self.batches(make, kind, epoch=self.epoch, start=0)
        end = limited(len(batches), trainer.limit_train_batches)
        self.start = end if state["epoch_is_done"] else min(batches.first(), end)
