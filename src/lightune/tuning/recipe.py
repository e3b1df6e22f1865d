"""How a model is tuned: which weights move, and how fast."""

from collections.abc import Callable
from dataclasses import dataclass

from lightning import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightune.tuning.base import Tune
from lightune.tuning.distillation import Teacher


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a task trains its model; a task that only predicts uses ``tuning`` alone.

    Args:
        tuning: chooses which weights move.
        optimizer: makes an optimizer of parameter groups.
        scheduler: makes a schedule of an optimizer and ``num_training_steps``.
        layerwise_lr_decay: each layer's learning rate as a share of that of the layer above it; None: all are equal.
        num_training_steps: counts the optimizer steps of a run, which the schedule spans.
        teacher: answers that are learned beside the labels; None: the labels alone.
    """

    tuning: Tune
    optimizer: Callable[..., Optimizer]
    scheduler: Callable[..., LRScheduler]
    layerwise_lr_decay: float | None = None
    num_training_steps: Callable[[Trainer], int] = lambda trainer: int(trainer.estimated_stepping_batches)
    teacher: Teacher | None = None
