"""For which rows of an evaluation texts are generated, and how fast."""

import logging

import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only

from lightune.common.errors import UserError
from lightune.common.trainer_state import is_fitting
from lightune.tasks.batch import Batch

log = logging.getLogger(__name__)

LENGTHS = 8  # at least so many steps, each of another length


class GeneratedSample:
    """Bound the rows that a validation during training generates for, and count what is generated.

    Args:
        max_samples: rows on all devices; None: all.

    Raises:
        UserError: that is no number of rows.
    """

    def __init__(self, max_samples: int | None) -> None:
        if max_samples is not None and (type(max_samples) is not int or max_samples < 1):
            raise UserError(f"task.generation.max_samples={max_samples}: expected 1 or more rows, or null for all.")
        self.max_samples = max_samples
        self.num_rows: int | None = None  # to generate for in the present batch, the first; None: all
        self.is_always = False  # also outside training
        self.counts = torch.zeros(4)  # of an evaluation: rows, generated texts, their tokens, seconds
        self._step_rows = 1
        self._is_told = False

    def choose(self, batch: Batch, batch_idx: int, trainer: Trainer) -> None:
        """Set ``num_rows`` for a held-out batch."""
        if batch_idx == 0:
            self._step_rows = len(batch["rows"])
        if trainer.sanity_checking:
            self.num_rows = 1 if batch_idx == 0 else 0
        elif self.max_samples is None or not (self.is_always or is_fitting(trainer)):
            self.num_rows = None
        else:
            steps = int((trainer.num_test_batches if trainer.testing else trainer.num_val_batches)[0])
            devices = {"rank": trainer.global_rank, "world_size": trainer.world_size}
            sizes = {"num_steps": steps, "step_rows": self._step_rows, "max_samples": self.max_samples}
            self.num_rows = rows_to_generate(batch_idx, **sizes, **devices)

    def tell(self, trainer: Trainer) -> float:
        """Log what all devices generated; return their tokens a second. Every rank must call this."""
        counts = trainer.strategy.reduce(self.counts.to(trainer.strategy.root_device), reduce_op="sum")
        rows, texts, tokens, seconds = counts.tolist()
        rate = tokens / max(seconds / trainer.world_size, 1e-9)
        tell = rank_zero_only(log.info)
        if texts < rows and is_fitting(trainer) and not self._is_told:
            self._is_told = True
            shown = f"{texts:,.0f} of {rows:,.0f} rows"
            tell(f"Validation generates texts for {shown} until training ends; its loss is over all.")
        tell(f"generated {texts:,.0f} texts of {tokens:,.0f} tokens, {rate:,.0f} tokens/s")
        return float(rate)


def rows_to_generate(
    step: int, *, num_steps: int, step_rows: int, max_samples: int, rank: int = 0, world_size: int = 1
) -> int:
    """Return for how many rows of a step, of ``step_rows`` on each device or fewer, this device generates.

    The steps of a held-out split are sorted by length, so a sample from evenly spaced steps is spread over lengths. It is
    the same in each validation, and each device takes its share: the rows of a step are dealt out in turn.
    """
    chosen = min(max(LENGTHS, -(-max_samples // (step_rows * world_size))), num_steps, max_samples)
    steps = [(2 * number + 1) * num_steps // (2 * chosen) for number in range(chosen)]
    if step not in steps:
        return 0
    share = max_samples // chosen + (steps.index(step) < max_samples % chosen)
    return len(range(rank, share, world_size))
