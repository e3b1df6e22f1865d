"""Tasks: how a batch becomes a loss, metrics, and predictions a person can read."""

from collections.abc import Callable

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
    "tasks_that",
]

BUILT_IN: tuple[type[Task], ...] = (
    TextClassification,
    TokenClassification,
    QuestionAnswering,
    Seq2Seq,
    CausalLM,
    MaskedLM,
)


def tasks_that(can: Callable[[type[Task]], bool]) -> str:
    """List the built-in tasks of which something is true, for a message."""
    return ", ".join(str(task.pipeline_tag).replace("-", " ") for task in BUILT_IN if can(task))
