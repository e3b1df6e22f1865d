"""Build the parts of a run from its configuration."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from lightning import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedTokenizerBase

from lightune.common.errors import UserError
from lightune.common.trainer_state import limited
from lightune.data import DataModule
from lightune.models import cpu, precision
from lightune.models.pretrained import PretrainedModel
from lightune.runs.checkpoint_io import CheckpointIO
from lightune.runs.load_run import fit_to_model, make_data, make_preprocessor, make_pretrained, make_task, task_class
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
    ``count_steps`` returns the optimizer steps that the schedule spans; None: those of the whole run.

    Raises:
        UserError: model, data and task do not match, or one of them cannot be read.
    """
    pretrained = make_pretrained(cfg)
    cfg = fit_to_model(cfg, pretrained)
    task_class(cfg).check(pretrained)
    pretrained.check_weights()
    tokenizer = pretrained.load_tokenizer()
    teacher = instantiate(
        cfg.distill, task_name=cfg.task_name, max_length=cfg.data.get("max_length"), tokenizer=tokenizer
    )
    if teacher is None and (path := cfg.data.get("unlabeled_path")) is not None:
        raise UserError(
            f"data.unlabeled_path={path}: rows without labels need a teacher's answers: distill.teacher=RUN\n"
            f"Or label them, and train on what it writes: lightune predict RUN --file {path} --out labelled.jsonl"
        )
    data = make_data(cfg, make_preprocessor(cfg, tokenizer))
    data.setup()
    if teacher is not None:
        teacher.check_labels(data.head)
    _tell_of_defaults(cfg, pretrained)
    task = make_task(cfg, pretrained=pretrained, head=data.head, num_training_steps=count_steps, teacher=teacher)
    return Parts(tokenizer, data, task)


def _tell_of_defaults(cfg: DictConfig, pretrained: PretrainedModel) -> None:
    """Log what another model gets of the default, ``model=minilm`` or ``smollm2``, where only its name was replaced."""
    name, rates = cfg.model.pretrained_model_name_or_path, cfg.get("learning_rates")
    if rates is not None and cfg.model.from_run is None and not name.startswith("embedded:"):
        is_pooled = (cfg.model.pooling, cfg.task.get("head"), cfg.task_name) == ("mean", None, "text_classification")
        kept = ["model.pooling=mean"] if is_pooled else []
        kept += [f"optimizer.lr={cfg.optimizer.lr}"] if cfg.optimizer.lr == rates.get(cfg.task_name, 2e-4) else []
        if kept:
            rank_zero_only(log.info)(f"{name} keeps MiniLM's {' and '.join(kept)}; model=bert, … have their own")
    # only a decoder's group has it
    if "generation" in cfg and cfg.model.from_run is None and pretrained.load_config().is_encoder_decoder:
        kept = [f"{option}={OmegaConf.select(cfg, option)}" for option in ("optimizer.lr", "generation.num_beams")]
        rank_zero_only(log.info)(f"{name} keeps a decoder's {' and '.join(kept)}; model=t5_small, … have their own")


def make_trainer(cfg: Any = None, **settings: Any) -> Trainer:
    """Make Lightning's Trainer as configured; ``settings``, its arguments, take precedence.

    Without a configuration it has the defaults of ``conf/train.yaml``, and trains as ``python train.py`` does, given the same
    seeds: ``lightning.seed_everything(seed)`` before the model is loaded, and the callback ``StepSeed(seed)``.
    """
    if cfg is None:
        cpu.speed_up()
        cfg = OmegaConf.merge(OmegaConf.load(Path(__file__).parents[1] / "conf" / "train.yaml"), {"run_dir": None})
    if cfg.trainer.get("enable_progress_bar") is False:
        settings["callbacks"] = [c for c in settings.get("callbacks", ()) if not isinstance(c, ProgressBar)]
    asked, accelerator = (settings.get(name, cfg.trainer[name]) for name in ("precision", "accelerator"))
    settings |= precision.trainer_arguments(asked, accelerator=accelerator)
    settings["plugins"] = [CheckpointIO(), *settings.get("plugins", [])]
    trainer: Trainer = instantiate(cfg.trainer, **settings, _convert_="all")
    return trainer


def reach_min_steps(trainer: Trainer, data: DataModule) -> None:
    """Multiply the epochs of a fit of few batches until they reach ``trainer.min_steps``; it validates no more often.

    Lightning's ``min_steps`` alone only keeps early stopping off.
    """
    least, epochs = trainer.min_steps or 0, trainer.max_epochs or -1
    steps = num_training_steps(trainer, batches_per_epoch=data.batches_per_epoch)
    if epochs < 0 or steps >= least or steps == trainer.max_steps:
        return
    factor = math.ceil(least / steps)
    trainer.fit_loop.max_epochs = epochs * factor
    if trainer.check_val_every_n_epoch is not None:
        trainer.check_val_every_n_epoch *= factor
    told = f"trainer.min_steps={least}: {epochs} epoch(s) would be {steps} steps"
    rank_zero_only(log.info)(f"{told}, so there are {epochs * factor}")


def check_batches(trainer: Trainer, data: DataModule) -> None:
    """Raise a UserError for a split of less than a batch, or a validation after more batches than an epoch has."""
    world_size = trainer.world_size
    held_out = {"val": "validation", "test": "test"}
    batches = {name: len(data.held_out_batches(of, rank=0, world_size=world_size)) for name, of in held_out.items()}
    batches["train"] = data.batches_per_epoch(world_size=world_size)
    for name, number in batches.items():
        limit = getattr(trainer, f"limit_{name}_batches")
        batches[name] = limited(number, limit)
        if batches[name] == 0:
            raise UserError(
                f"trainer.limit_{name}_batches={limit}: that is less than one of {number} batches.\n"
                f"Give a larger share, or a number of batches: trainer.limit_{name}_batches=1"
            )
    interval = getattr(trainer, "val_check_interval", None)  # there is none where it is a time
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and interval > batches["train"]:
        raise UserError(
            f"trainer.val_check_interval={interval}: an epoch has {batches['train']} batches, and none would be validated.\n"
            "Give fewer or a share of an epoch, or count over epochs: trainer.check_val_every_n_epoch=null"
        )
