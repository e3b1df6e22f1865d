"""Build an experiment from its configuration, ready for ``trainer.fit``."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig
from transformers import PreTrainedTokenizerBase

from lightune.data import DataModule
from lightune.models import precision
from lightune.runs.checkpoints import CheckpointIO
from lightune.runs.load import make_data, make_preprocessor, make_pretrained, make_task, task_class
from lightune.tasks import Task
from lightune.tuning.optimizer import num_training_steps


class Parts(NamedTuple):
    """What is trained, and on what."""

    tokenizer: PreTrainedTokenizerBase
    data: DataModule
    task: Task


def build(cfg: DictConfig, *, count_steps: Callable[[Trainer], int] | None = None) -> Parts:
    """Load the pretrained model, prepare the data, and make the task of both.

    The tokenizer comes first, the weights θ once the data has said what head they need.

    Args:
        cfg: of the experiment.
        count_steps: counts the optimizer steps that the schedule spans; None: those of the whole run.

    Raises:
        UserError: model, data and task do not fit, or one cannot be read.
    """
    pretrained = make_pretrained(cfg)
    task_class(cfg).check(pretrained)
    pretrained.check_weights()
    tokenizer = pretrained.load_tokenizer()
    teacher = instantiate(
        cfg.distill, task_name=cfg.task_name, max_length=cfg.data.get("max_length"), tokenizer=tokenizer
    )
    data = make_data(cfg, make_preprocessor(cfg, tokenizer))
    data.setup()
    if teacher is not None:
        teacher.check_labels(data.head)
    task = make_task(
        cfg,
        pretrained=pretrained,
        head=data.head,
        num_training_steps=count_steps
        or partial(num_training_steps, batches_per_epoch=data.batches_per_epoch),
        teacher=teacher,
    )
    return Parts(tokenizer, data, task)


def make_trainer(cfg: DictConfig, **settings: Any) -> Trainer:
    """Make Lightning's Trainer as configured, but for these settings."""
    chosen = precision.resolve(cfg.trainer.precision, accelerator=cfg.trainer.accelerator)
    trainer: Trainer = instantiate(
        cfg.trainer, plugins=[CheckpointIO()], precision=chosen, **settings, _convert_="all"
    )
    return trainer
