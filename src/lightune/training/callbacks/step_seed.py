"""Random numbers of a training step that depend on the step alone."""

import random
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer


class StepSeed(Callback):
    """Seed every training batch by the run's seed, its epoch, its number and the device.

    So a run that goes on from a checkpoint drops what it would have dropped, with no generator's state to save for each
    device, and whatever happens between two steps (a validation, a callback) changes nothing.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        key = [self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        drawn = int(np.random.SeedSequence(key).generate_state(1)[0])
        random.seed(drawn)
        np.random.seed(drawn)
        torch.manual_seed(drawn)
