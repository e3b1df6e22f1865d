"""Tasks: how a batch becomes a loss, metrics, and predictions a person can read."""

from finetune.tasks.base import Task
from finetune.tasks.causal_lm import CausalLM
from finetune.tasks.masked_lm import MaskedLM
from finetune.tasks.question_answering import QuestionAnswering
from finetune.tasks.seq2seq import Seq2Seq
from finetune.tasks.text_classification import TextClassification
from finetune.tasks.token_classification import TokenClassification

__all__ = [
    "CausalLM",
    "MaskedLM",
    "QuestionAnswering",
    "Seq2Seq",
    "Task",
    "TextClassification",
    "TokenClassification",
]
