"""How a model is tuned: which weights move, how fast, and after which teacher."""

from collections.abc import Callable
from dataclasses import dataclass

from lightning import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightune.tuning.base import Tune
from lightune.tuning.distillation import Teacher
from lightune.tuning.freezing import full
from lightune.tuning.optimizer_and_schedule import adamw, num_training_steps, schedule


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a task trains its model; a task that only predicts uses ``tuning`` alone.

    Args:
        tuning: freezes a part of a model, in place.
        optimizer: makes an optimizer from parameter groups.
        scheduler: makes a schedule from an optimizer and what ``schedule_arguments`` gives.
        scheduler_interval: whether the schedule moves at each ``step`` or ``epoch``.
        scheduler_monitor: the figure that a schedule watches, such as torch's ``ReduceLROnPlateau``, which moves after each
            validation; None: the validation loss.
        layerwise_lr_decay: a layer's learning rate as a share of the next higher layer's; None: all are equal.
        num_training_steps: counts the optimizer steps of a run, over which the schedule goes.
        teacher: a finished run whose answers are learned beside the labels; None: the labels alone.
    """

    tuning: Tune = full
    optimizer: Callable[..., Optimizer] = adamw
    scheduler: Callable[..., LRScheduler] = schedule
    scheduler_interval: str = "step"
    scheduler_monitor: str | None = None
    layerwise_lr_decay: float | None = None
    num_training_steps: Callable[[Trainer], int] = num_training_steps
    teacher: Teacher | None = None
