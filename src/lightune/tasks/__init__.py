"""Tasks: how a batch becomes a loss, metrics, and predictions a person can read."""

from lightune.tasks.base import Task
from lightune.tasks.causal_lm import CausalLM
from lightune.tasks.masked_lm import MaskedLM
from lightune.tasks.question_answering import QuestionAnswering
from lightune.tasks.seq2seq import Seq2Seq
from lightune.tasks.text_classification import TextClassification
from lightune.tasks.token_classification import TokenClassification

__all__ = [
    "CausalLM",
    "MaskedLM",
    "QuestionAnswering",
    "Seq2Seq",
    "Task",
    "TextClassification",
    "TokenClassification",
]
