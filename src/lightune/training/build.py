"""An experiment's parts, made of its configuration: for training, and for what is asked before it."""

from typing import Any, NamedTuple

from hydra.utils import get_class, instantiate
from lightning import Trainer
from omegaconf import DictConfig
from transformers import PreTrainedTokenizerBase

from lightune.data import DataModule
from lightune.models import precision
from lightune.runs.checkpoints import CheckpointIO
from lightune.runs.load import pretrained_model
from lightune.tasks import Task


class Parts(NamedTuple):
    """What is trained, and on what."""

    tokenizer: PreTrainedTokenizerBase
    data: DataModule
    task: Task


def build(cfg: DictConfig) -> Parts:
    """Load the pretrained model, prepare the data, and make the task of both.

    The tokenizer comes first, the weights θ once the data has said what head they need.

    Raises:
        UserError: model, data and task do not fit, or one cannot be read.
    """
    pretrained = pretrained_model(cfg.model)
    task_class: Any = get_class(cfg.task._target_)
    task_class.check(pretrained)
    pretrained.check_weights()
    tokenizer = pretrained.load_tokenizer()
    teacher = instantiate(
        cfg.distill, task_name=cfg.task_name, max_length=cfg.data.get("max_length"), tokenizer=tokenizer
    )
    preprocessor = instantiate(cfg.preprocessor, tokenizer=tokenizer, _convert_="all")
    data = instantiate(cfg.datamodule, preprocessor=preprocessor, _convert_="all")
    data.setup()
    if teacher is not None:
        teacher.check_labels(data.head)
    task = instantiate(cfg.task, pretrained=pretrained, head=data.head, _convert_="all")
    task.teacher = teacher
    task.layerwise_lr_decay = cfg.layerwise_lr_decay
    return Parts(tokenizer, data, task)


def make_trainer(cfg: DictConfig, **settings: Any) -> Trainer:
    """Make Lightning's Trainer as configured, but for these settings."""
    chosen = precision.resolve(cfg.trainer.precision, accelerator=cfg.trainer.accelerator)
    trainer: Trainer = instantiate(
        cfg.trainer, plugins=[CheckpointIO()], precision=chosen, **settings, _convert_="all"
    )
    return trainer
