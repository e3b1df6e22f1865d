"""What is measured with: the parts of the run that was asked for, and a Trainer that keeps nothing."""

import logging
import os
from typing import Any

import datasets
import lightning
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ProgressBar
from omegaconf import DictConfig, OmegaConf

from lightune.common import processes
from lightune.common.errors import UserError
from lightune.common.quiet import quiet
from lightune.config import check_made
from lightune.models import cpu
from lightune.training.build import Parts, build, make_trainer
from lightune.training.callbacks import EpochLog, StepSeed

FOR_TRAINING = (Checkpoint, EarlyStopping, ProgressBar, EpochLog)
FOREVER = 10**9


def load(
    config: dict[str, Any], *, num_steps: int = FOREVER, quietly: bool = False
) -> tuple[DictConfig, Parts]:
    """Set this process up as training is set up, and make the run's parts.

    Args:
        config: resolved, so that it needs nothing of the process that has composed it.
        num_steps: that the schedule spans; the default keeps what changes during a run as it is at first.
        quietly: say nothing of the data: another process has.

    Raises:
        UserError: the run could not be trained either.
    """
    logging.basicConfig(level=logging.ERROR if quietly else logging.INFO, format="%(message)s")
    cfg = OmegaConf.create(config)
    try:
        quiet()
        check_made(cfg)
        devices = processes.num_devices(accelerator=cfg.trainer.accelerator, devices=cfg.trainer.devices)
        if devices > 1:  # each process of a run has its share of the cores
            import torch

            torch.set_num_threads(max(1, (os.cpu_count() or 1) // devices))
        cpu.speed_up()
        lightning.seed_everything(cfg.seed, workers=True, verbose=False)
        parts = build(cfg, count_steps=lambda trainer: num_steps)
        datasets.disable_progress_bars()  # the rows that are chosen come by without one
    except InstantiationException as error:  # it does not reach another process whole
        raise error.__cause__ if isinstance(error.__cause__, UserError) else UserError(str(error)) from error
    return cfg, parts


def callbacks(cfg: DictConfig, *, without: tuple[type[Callback], ...] = ()) -> list[Callback]:
    """Make the run's callbacks that have a part in its steps; those that watch it or write are left out."""
    kept = [
        instantiate(node, _convert_="all")
        for node in cfg.callbacks.values()
        if not issubclass(get_class(node._target_), (*FOR_TRAINING, *without))
    ]
    return [*kept, StepSeed(cfg.seed)]


def trainer(cfg: DictConfig, **settings: Any) -> Trainer:
    """Make the run's Trainer on one device, without what would write or validate."""
    usual: dict[str, Any] = {
        "devices": 1,
        "num_nodes": 1,
        "strategy": "auto",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
        "limit_train_batches": 1.0,
        "limit_val_batches": 0,
        "val_check_interval": 1.0,
        "check_val_every_n_epoch": 1,
        "max_epochs": 1,
        "max_steps": -1,
    }
    return make_trainer(cfg, **{**usual, **settings})
