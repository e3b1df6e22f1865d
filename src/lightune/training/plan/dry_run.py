"""Train a few steps of a configured run without validation, checkpoints or logs."""

import logging
from typing import Any

import datasets
import lightning
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, DeviceStatsMonitor, EarlyStopping, LearningRateMonitor, ProgressBar
from omegaconf import DictConfig, OmegaConf

from lightune.common import processes
from lightune.common.errors import UserError
from lightune.common.quiet import quiet
from lightune.config import check_made
from lightune.models import cpu
from lightune.training.build_run import Parts, build, make_trainer
from lightune.training.callbacks import EpochLog, StepSeed

# Optimizer steps that schedules span.
NUM_STEPS = 10**9
OUTPUT_CALLBACKS = (Checkpoint, DeviceStatsMonitor, EarlyStopping, EpochLog, LearningRateMonitor, ProgressBar)
TRAINER_SETTINGS: dict[str, Any] = {
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


def load(config: dict[str, Any], *, is_quiet: bool = False) -> tuple[DictConfig, Parts]:
    """Prepare this process as for training, and build the run's parts; schedules stay at their first step.

    The interpolations of ``config`` are resolved. ``is_quiet`` leaves out warnings that another process has printed.

    Raises:
        UserError: the run could not be trained either.
    """
    logging.basicConfig(level=logging.ERROR if is_quiet else logging.INFO, format="%(message)s")
    cfg = OmegaConf.create(config)
    try:
        quiet()
        check_made(cfg)
        cpu.speed_up()
        devices = processes.num_devices(accelerator=cfg.trainer.accelerator, devices=cfg.trainer.devices)
        # the processes of a run share the cores
        torch.set_num_threads(max(1, torch.get_num_threads() // devices))
        lightning.seed_everything(cfg.seed, workers=True, verbose=False)
        parts = build(cfg, count_steps=lambda trainer: NUM_STEPS)
        datasets.disable_progress_bars()
    except InstantiationException as error:
        # this exception cannot be pickled for the parent process
        raise error.__cause__ if isinstance(error.__cause__, UserError) else UserError(str(error)) from error
    return cfg, parts


def callbacks(cfg: DictConfig, *, exclude: tuple[type[Callback], ...] = ()) -> list[Callback]:
    """Make the run's callbacks that take part in its steps, without those that only watch or write."""
    nodes = cfg.callbacks.values()
    kept = [node for node in nodes if not issubclass(get_class(node._target_), (*OUTPUT_CALLBACKS, *exclude))]
    return [*(instantiate(node, _convert_="all") for node in kept), StepSeed(cfg.seed)]


def trainer(cfg: DictConfig, **settings: Any) -> Trainer:
    """Make the run's Trainer on one device, without validation and output unless ``settings`` ask for them."""
    return make_trainer(cfg, **{**TRAINER_SETTINGS, **settings})
