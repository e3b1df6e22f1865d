"""How fast the weights move: parameter groups, learning-rate schedules and the number of steps they span."""

import math
import re

from lightning import Trainer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from finetune.options import Share

NOT_DECAYED = re.compile(r"bias$|norm|\bln_\w+\.weight$")


def parameter_groups(model: nn.Module) -> list[dict[str, object]]:
    """Split the trainable parameters in two: weight decay for matrices, none for biases and norms.

    They are told apart by name, not by shape: FSDP flattens every shape.
    Source: Devlin et al. (2019) train BERT so.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (plain if NOT_DECAYED.search(name.lower()) else decayed).append(parameter)
    return [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]


def schedule(optimizer: Optimizer, *, num_training_steps: int, name: str, warmup_ratio: Share) -> LRScheduler:
    """Build one of transformers' schedules, with the warm-up as a share of all steps.

    Args:
        optimizer: whose learning rate is the schedule's peak.
        num_training_steps: optimizer steps in the whole run.
        name: as in ``transformers.SchedulerType``: ``linear``, ``cosine``, ``constant_with_warmup``, …
        warmup_ratio: share of the steps, 0 to 1, over which the rate rises from 0 to its peak.
    """
    built: LRScheduler = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=math.ceil(warmup_ratio * num_training_steps),
        num_training_steps=num_training_steps,
    )
    return built


def num_training_steps(trainer: Trainer, *, batches_per_epoch: int) -> int:
    """Count the optimizer steps of a run from the Trainer's settings.

    ``trainer.estimated_stepping_batches`` would build the data loaders to find out, too early
    for a run that is resumed.

    Args:
        trainer: whose ``max_epochs``, ``max_steps``, ``accumulate_grad_batches`` and ``limit_train_batches`` count.
        batches_per_epoch: batches that one device sees in an epoch.
    """
    limit = trainer.limit_train_batches
    batches = min(batches_per_epoch, limit) if isinstance(limit, int) else int(batches_per_epoch * limit)
    steps_per_epoch = math.ceil(max(1, batches) / trainer.accumulate_grad_batches)
    max_epochs = trainer.max_epochs or 1
    if trainer.max_steps > 0:
        return trainer.max_steps if max_epochs < 0 else min(trainer.max_steps, steps_per_epoch * max_epochs)
    return steps_per_epoch * max_epochs
