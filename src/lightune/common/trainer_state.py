"""The state of a running Trainer. Lightning's private attributes are read here and nowhere else."""

from typing import Any

from lightning import Trainer
from lightning.pytorch.trainer.states import TrainerFn


def is_fitting(trainer: Trainer) -> bool:
    """Return whether ``trainer.fit`` runs, past its sanity check; true in the validations of a fit."""
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


def completes_step(trainer: Trainer) -> bool:
    """Return whether the current training batch is the last of an optimizer step."""
    return not trainer.fit_loop.epoch_loop._should_accumulate()


def validation_follows(trainer: Trainer) -> bool:
    """Return whether Lightning validates after the current training batch, or the epoch ends with it."""
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    assert fetcher is not None
    return loop.batch_progress.is_last_batch or loop._should_check_val_fx(fetcher)


def limited(number: int, limit: float) -> int:
    """Apply Lightning's ``limit_…_batches`` to a number of batches: a number, or a share of them."""
    return min(number, limit) if isinstance(limit, int) else int(number * limit)


def go_to_batch(trainer: Trainer, number: int) -> None:
    """Let a resumed epoch go on at another batch than the checkpoint says."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    skipped = number - progress.processed
    for name in ("ready", "started", "processed", "completed"):
        setattr(progress, name, getattr(progress, name) + skipped)
