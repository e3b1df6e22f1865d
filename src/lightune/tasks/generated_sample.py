"""For which rows of an evaluation texts are generated, and how fast."""

import logging

import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only

from lightune.common.errors import UserError
from lightune.common.trainer_state import is_fitting

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
        self._step_rows = 1
        self.is_always = False  # also outside training
        self._is_told = False
        self.start()

    def start(self) -> None:
        """Begin an evaluation."""
        self._counts = [0.0] * 4  # rows, generated texts, their tokens, seconds

    def rows_of(self, batch_idx: int, num_steps: int, num_rows: int, trainer: Trainer) -> int | None:
        """Return for how many of a batch's rows to generate, the first; None: all."""
        if trainer.sanity_checking:
            return 1 if batch_idx == 0 else 0
        if self.max_samples is None or not (self.is_always or is_fitting(trainer)):
            return None
        if batch_idx == 0:
            self._step_rows = num_rows
        return rows_to_generate(
            batch_idx,
            num_steps=num_steps,
            step_rows=self._step_rows,
            max_samples=self.max_samples,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )

    def add(self, *, rows: int = 0, texts: int = 0, tokens: int = 0, seconds: float = 0.0) -> None:
        """Count held-out rows, and texts that were generated."""
        self._counts = [count + new for count, new in zip(self._counts, (rows, texts, tokens, seconds), strict=True)]

    def tell(self, trainer: Trainer) -> float:
        """Log what all devices generated; return their tokens a second. Every rank must call this."""
        counts = torch.tensor(self._counts, device=trainer.strategy.root_device)
        rows, texts, tokens, seconds = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        seconds = max(seconds / trainer.world_size, 1e-9)
        tell = rank_zero_only(log.info)
        if texts < rows and is_fitting(trainer) and not self._is_told:
            self._is_told = True
            shown = f"{texts:,.0f} of {rows:,.0f} rows"
            tell(f"Validation generates texts for {shown} until training ends; its loss is over all.")
        rate = tokens / seconds
        tell(f"generated {texts:,.0f} texts, {tokens:,.0f} tokens, in {seconds:.0f} s: {rate:,.0f} tokens/s")
        return float(rate)


def rows_to_generate(
    step: int, *, num_steps: int, step_rows: int, max_samples: int, rank: int = 0, world_size: int = 1
) -> int:
    """Return for how many rows of a step this device generates: the first of its batch.

    The steps of a held-out split are sorted by length, so a sample from evenly spaced steps is spread over lengths. It is
    the same in each validation, and each device takes its share: the rows of a step are dealt out in turn.

    Args:
        step: number of the batch.
        num_steps: batches of the validation.
        step_rows: rows of a batch; a shorter one gives fewer samples.
        max_samples: rows of all steps and devices together.
        rank: number of this device.
        world_size: number of devices.
    """
    chosen = min(max(LENGTHS, -(-max_samples // (step_rows * world_size))), num_steps, max_samples)
    steps = [(2 * number + 1) * num_steps // (2 * chosen) for number in range(chosen)]
    if step not in steps:
        return 0
    share = max_samples // chosen + (steps.index(step) < max_samples % chosen)
    return len(range(rank, share, world_size))
