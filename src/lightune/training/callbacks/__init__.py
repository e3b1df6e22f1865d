"""Callbacks: what happens around training."""

from lightune.sweeps.pruning import Pruning
from lightune.training.callbacks.cache_frozen_layers import FrozenOnce
from lightune.training.callbacks.epoch_log import EpochLog
from lightune.training.callbacks.fail_fast import Trouble
from lightune.training.callbacks.last_checkpoint import LastCheckpoint
from lightune.training.callbacks.metrics_csv import MetricsCSV
from lightune.training.callbacks.profile import Profile
from lightune.training.callbacks.progress import ProgressBar
from lightune.training.callbacks.step_seed import StepSeed
from lightune.training.callbacks.throughput import Throughput

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
