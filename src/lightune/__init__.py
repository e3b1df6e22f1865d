"""Fine-tune pretrained language models with Lightning and Hydra.

What a program needs is imported from here, and loaded when it is first used: torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightune.common.errors import UserError as UserError
    from lightune.data import *  # noqa: F403
    from lightune.models.pretrained import PretrainedModel as PretrainedModel
    from lightune.runs.load_run import load as load
    from lightune.tasks import *  # noqa: F403
    from lightune.training.build_run import make_trainer as make_trainer
    from lightune.training.callbacks import StepSeed as StepSeed
    from lightune.tuning.optimizer_and_schedule import adamw as adamw
    from lightune.tuning.recipe import Recipe as Recipe

_EXPORTS = {
    "common.errors": "UserError",
    "data": "DataModule DialoguePreprocessor InstructionPreprocessor MaskedLMPreprocessor QuestionAnsweringPreprocessor "
    "Seq2SeqPreprocessor TextClassificationPreprocessor TokenClassificationPreprocessor",
    "models.pretrained": "PretrainedModel",
    "runs.load_run": "load",
    "tasks": "CausalLM MaskedLM QuestionAnswering Seq2Seq Task TextClassification TokenClassification",
    "training.build_run": "make_trainer",
    "training.callbacks": "StepSeed",
    "tuning.optimizer_and_schedule": "adamw",
    "tuning.recipe": "Recipe",
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names.split()}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
