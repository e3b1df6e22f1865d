"""Callbacks: what happens around training."""

from finetune.callbacks.epoch_log import EpochLog
from finetune.callbacks.throughput import Throughput

__all__ = ["EpochLog", "Throughput"]
