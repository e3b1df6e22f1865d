"""Data: files or the Hub become batches of tokens."""

from lightune.data.datamodule import DataModule
from lightune.data.preprocessors.dialogue import DialoguePreprocessor
from lightune.data.preprocessors.instruction import InstructionPreprocessor
from lightune.data.preprocessors.masked_lm import MaskedLMPreprocessor
from lightune.data.preprocessors.question_answering import QuestionAnsweringPreprocessor
from lightune.data.preprocessors.seq2seq import Seq2SeqPreprocessor
from lightune.data.preprocessors.text_classification import TextClassificationPreprocessor
from lightune.data.preprocessors.token_classification import TokenClassificationPreprocessor

__all__ = [
    "DataModule",
    "DialoguePreprocessor",
    "InstructionPreprocessor",
    "MaskedLMPreprocessor",
    "QuestionAnsweringPreprocessor",
    "Seq2SeqPreprocessor",
    "TextClassificationPreprocessor",
    "TokenClassificationPreprocessor",
]
