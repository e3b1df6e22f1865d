"""The callbacks of a training run."""

from lightune.training.callbacks.average_weights import AverageWeights
from lightune.training.callbacks.cache_frozen_layers import CacheFrozenLayers
from lightune.training.callbacks.epoch_log import EpochLog
from lightune.training.callbacks.fail_fast import FailFast
from lightune.training.callbacks.last_checkpoint import LastCheckpoint
from lightune.training.callbacks.metrics_csv import MetricsCSV
from lightune.training.callbacks.profile import Profile
from lightune.training.callbacks.progress import ProgressBar
from lightune.training.callbacks.step_seed import StepSeed
from lightune.training.callbacks.throughput import Throughput

__all__ = [
    "AverageWeights",
    "CacheFrozenLayers",
    "EpochLog",
    "FailFast",
    "LastCheckpoint",
    "MetricsCSV",
    "Profile",
    "ProgressBar",
    "StepSeed",
    "Throughput",
]
