"""Reproducible random numbers in each training step."""

import random
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer


class StepSeed(Callback):
    """Seed each training batch from the run's seed, the epoch, the batch index and the device's rank.

    A resumed run therefore draws the same dropout masks without saved generator states, and nothing that happens between
    two steps (a validation, a callback) changes them.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, _: Any, batch: Any, batch_idx: int) -> None:
        key = [self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
