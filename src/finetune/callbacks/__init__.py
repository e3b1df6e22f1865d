"""Callbacks: what happens around training."""

from finetune.callbacks.epoch_log import EpochLog
from finetune.callbacks.frozen_once import FrozenOnce
from finetune.callbacks.last_checkpoint import LastCheckpoint
from finetune.callbacks.metrics_csv import MetricsCSV
from finetune.callbacks.profile import Profile
from finetune.callbacks.progress import ProgressBar
from finetune.callbacks.pruning import Pruning
from finetune.callbacks.step_seed import StepSeed
from finetune.callbacks.throughput import Throughput
from finetune.callbacks.trouble import Trouble

__all__ = [
    "EpochLog",
    "FrozenOnce",
    "LastCheckpoint",
    "MetricsCSV",
    "Profile",
    "ProgressBar",
    "Pruning",
    "StepSeed",
    "Throughput",
    "Trouble",
]
