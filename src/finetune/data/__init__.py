"""Data: files or the Hub become batches of tokens."""

from finetune.data.datamodule import DataModule
from finetune.data.dialogue import DialoguePreprocessor
from finetune.data.masked_lm import MaskedLMPreprocessor
from finetune.data.question_answering import QuestionAnsweringPreprocessor
from finetune.data.seq2seq import Seq2SeqPreprocessor
from finetune.data.text_classification import TextClassificationPreprocessor
from finetune.data.token_classification import TokenClassificationPreprocessor

__all__ = [
    "DataModule",
    "DialoguePreprocessor",
    "MaskedLMPreprocessor",
    "QuestionAnsweringPreprocessor",
    "Seq2SeqPreprocessor",
    "TextClassificationPreprocessor",
    "TokenClassificationPreprocessor",
]
