"""Data: files or the Hub become batches of tokens."""

from finetune.data.datamodule import DataModule
from finetune.data.text_classification import TextClassificationPreprocessor
from finetune.data.token_classification import TokenClassificationPreprocessor

__all__ = ["DataModule", "TextClassificationPreprocessor", "TokenClassificationPreprocessor"]
