"""Data: files or the Hub become batches of tokens."""

from finetune.data.datamodule import DataModule
from finetune.data.text_classification import TextClassificationPreprocessor

__all__ = ["DataModule", "TextClassificationPreprocessor"]
