"""A finished run as the teacher of another, or several together."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightune.common.bounds import Between, Share
from lightune.common.errors import UserError
from lightune.data.preprocessors.base import Preprocessor
from lightune.models.model_parts import max_positions
from lightune.runs.ensemble import Ensemble, rebuild_together
from lightune.runs.members import runs_of
from lightune.tasks import Task
from lightune.tuning.distillation import Teacher


def load_teacher(
    *,
    teacher: str | list[str] | None,
    temperature: Annotated[float, Between(1)],
    alpha: Share,
    task_name: str,
    max_length: int | None,
    tokenizer: PreTrainedTokenizerBase,
) -> Teacher | None:
    """Load a finished run by its folder, or several that answer together, and refuse what cannot teach before any data is read.

    The student's loss becomes ``alpha * T² * KL(teacher / T || student / T) + (1 - alpha) * loss`` over logits at the
    targets. Source: Hinton, Vinyals and Dean (2015), Distilling the Knowledge in a Neural Network.

    Args:
        teacher: the folder or folders, a sweep's for its best group; None: no distillation.
        temperature: T, by which both logits are divided. T² keeps the size of the gradient.
        alpha: the teacher's share of the loss.
        task_name: the student's.
        max_length: the most tokens of a text, if the task has such a limit.
        tokenizer: the student's. The teacher reads the student's token ids, so both must have one vocabulary.

    Raises:
        UserError: it is not the folder of a finished run, or that run has another task or tokenizer, or reads fewer
            tokens.
    """
    if teacher is None:
        return None
    folders = [teacher] if isinstance(teacher, str) else [*teacher]
    folder = ", ".join(folders)
    # the student's random numbers stay those of a run without a teacher
    with torch.random.fork_rng(devices=[]):
        run = rebuild_together(runs_of(Path(name).expanduser() for name in folders))
    cfg, task, preprocessor = run.cfg, run.task, run.preprocessor
    if cfg.task_name != task_name:
        raise UserError(
            f"distill.teacher={folder} was trained for task={cfg.task_name}, not task={task_name}.\n"
            "Name a run of the same task."
        )
    base = cfg.model.pretrained_model_name_or_path
    inputs = _check_tokenizers(folder, preprocessor, tokenizer, base=base)
    config: Any = task.model.config
    models = task.model.members.values() if isinstance(task.model, Ensemble) else [task.model]
    positions = min((found for model in models if (found := max_positions(model)) is not None), default=None)
    longest = min(max_length or 0, tokenizer.model_max_length)
    if positions is not None and longest > positions:
        raise UserError(
            f"distill.teacher={folder} reads {positions} tokens, and data.max_length is {longest}.\n"
            f"Lower it: data.max_length={positions}"
        )
    return Teacher(
        answer=partial(_answer, task.eval().requires_grad_(False), inputs={*inputs, "labels", "num_windows"}),
        label_names=[config.id2label[index] for index in range(config.num_labels)],
        problem_type=getattr(config, "problem_type", None),
        folder=folder,
        temperature=temperature,
        alpha=alpha,
    )


def _check_tokenizers(
    folder: str, preprocessor: Preprocessor, student: PreTrainedTokenizerBase, *, base: str
) -> set[str]:
    """Refuse a teacher that reads token ids otherwise than the student; return the names of the teacher's inputs."""
    teacher: PreTrainedTokenizerBase = preprocessor.tokenizer  # type: ignore[attr-defined]
    if teacher.get_vocab() != student.get_vocab():
        raise UserError(
            f"distill.teacher={folder} has another tokenizer than the student, and would read the student's token ids.\n"
            f"The teacher's: {len(teacher):,} tokens, of {base}\n"
            f"The student's: {len(student):,} tokens, of {student.name_or_path}\n"
            "Choose two models with one vocabulary, such as bert and distilbert; or model.from_run with fewer layers."
        )
    segments = {"token_type_ids"} & {*teacher.model_input_names} - {*student.model_input_names}
    if segments and len(preprocessor.input_columns) > 1:
        raise UserError(
            f"distill.teacher={folder} needs token_type_ids for pairs of texts, and the student's tokenizer has none.\n"
            "Choose a student that reads token_type_ids, such as bert or minilm."
        )
    return {*teacher.model_input_names}


def _answer(task: Task, batch: dict[str, Any], *, inputs: set[str]) -> Tensor:
    """Return the logits of a batch's targets, on its device, by a frozen task that reads these of its values."""
    device = batch["input_ids"].device
    if task.device != device:
        task.to(device)
    named = {name: value for name, value in batch.items() if name in inputs}
    return task.at_targets(task(named), named)
