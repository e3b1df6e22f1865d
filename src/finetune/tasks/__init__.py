"""Tasks: how a batch becomes a loss, metrics, and predictions a person can read."""

from finetune.tasks.base import Task
from finetune.tasks.text_classification import TextClassification
from finetune.tasks.token_classification import TokenClassification

__all__ = ["Task", "TextClassification", "TokenClassification"]
