"""Build the parts of a run from its configuration."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from hydra.utils import instantiate
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from transformers import PreTrainedTokenizerBase

from lightune.data import DataModule
from lightune.models import precision
from lightune.runs.checkpoint_io import CheckpointIO
from lightune.runs.load_run import make_data, make_preprocessor, make_pretrained, make_task, task_class
from lightune.tasks import Task
from lightune.tuning.optimizer_and_schedule import num_training_steps

log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """The tokenizer, data and task of a run."""

    tokenizer: PreTrainedTokenizerBase
    data: DataModule
    task: Task


def build(cfg: DictConfig, *, count_steps: Callable[[Trainer], int] | None = None) -> Parts:
    """Load the pretrained model, prepare the data, and make the task from both.

    The tokenizer is loaded first; the weights θ only once the data has determined the model's head.

    Args:
        cfg: the run's configuration.
        count_steps: returns the optimizer steps that the schedule spans; None: those of the whole run.

    Raises:
        UserError: model, data and task do not match, or one of them cannot be read.
    """
    _tell_of_minilm(cfg)
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
        or partial(num_training_steps, batches_per_epoch=data.batches_per_epoch, dealt=data.dealt),
        teacher=teacher,
    )
    return Parts(tokenizer, data, task)


def _tell_of_minilm(cfg: DictConfig) -> None:
    """Log what another model gets of ``model=minilm``, the default, where only its name was replaced."""
    name, rates = cfg.model.pretrained_model_name_or_path, cfg.get("learning_rates")
    if rates is not None and cfg.model.from_run is None and not name.startswith("embedded:"):
        kept = ["model.pooling=mean"] if (cfg.model.pooling, cfg.task_name) == ("mean", "text_classification") else []
        kept += [f"optimizer.lr={cfg.optimizer.lr}"] if cfg.optimizer.lr == rates.get(cfg.task_name, 2e-4) else []
        if kept:
            rank_zero_only(log.info)(f"{name} keeps MiniLM's {' and '.join(kept)}; model=bert, … have their own")


def make_trainer(cfg: DictConfig, **settings: Any) -> Trainer:
    """Make Lightning's Trainer as configured; ``settings`` take precedence."""
    settings |= precision.trainer_arguments(cfg.trainer.precision, accelerator=cfg.trainer.accelerator)
    settings["plugins"] = [CheckpointIO(), *settings.get("plugins", [])]
    trainer: Trainer = instantiate(cfg.trainer, **settings, _convert_="all")
    return trainer
