"""Tasks: how a batch becomes a loss, metrics, and predictions a person can read."""

from finetune.tasks.base import Task
from finetune.tasks.text_classification import TextClassification

__all__ = ["Task", "TextClassification"]
