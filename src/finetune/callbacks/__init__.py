"""Callbacks: what happens around training."""

from finetune.callbacks.epoch_log import EpochLog
from finetune.callbacks.frozen_once import FrozenOnce
from finetune.callbacks.profile import Profile
from finetune.callbacks.progress import ProgressBar
from finetune.callbacks.throughput import Throughput
from finetune.callbacks.trouble import Trouble

__all__ = ["EpochLog", "FrozenOnce", "Profile", "ProgressBar", "Throughput", "Trouble"]
