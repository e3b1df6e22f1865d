"""A finished run as the teacher of another."""

from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightune.common.bounds import Between, Share
from lightune.common.errors import UserError
from lightune.runs.load import rebuild
from lightune.tuning.distillation import Teacher


def load_teacher(
    *,
    teacher: str | None,
    temperature: Annotated[float, Between(1)],
    alpha: Share,
    task_name: str,
    max_length: int | None,
    tokenizer: PreTrainedTokenizerBase,
) -> Teacher | None:
    """Load a finished run by its folder alone, whatever of it can be refused before data is read.

    The student's loss becomes ``alpha * T² * KL(teacher / T || student / T) + (1 - alpha) * loss`` over logits at the
    targets. Source: Hinton, Vinyals and Dean (2015), Distilling the Knowledge in a Neural Network.

    Args:
        teacher: the folder; None: no distillation.
        temperature: T, by which both logits are divided. T² keeps the size of the gradient.
        alpha: the teacher's share of the loss.
        task_name: the student's.
        max_length: tokens a text has at most, where the task bounds them.
        tokenizer: the student's. The teacher is given the student's token ids, so it must mean the same by them.

    Raises:
        UserError: it is not the folder of a finished run, or that run has another task or tokenizer, or reads less.
    """
    if teacher is None:
        return None
    folder = Path(teacher).expanduser()
    with torch.random.fork_rng(devices=[]):  # the student starts as it would without a teacher
        cfg, task, preprocessor = rebuild(folder)
    if cfg.task_name != task_name:
        raise UserError(
            f"distill.teacher={folder} was trained for task={cfg.task_name}, not task={task_name}.\n"
            "Name a run of the same task."
        )
    its_own: PreTrainedTokenizerBase = preprocessor.tokenizer  # type: ignore[attr-defined]
    if its_own.get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"distill.teacher={folder} has another tokenizer than the student, and is given the student's token ids.\n"
            f"The teacher's: {len(its_own):,} tokens, of {cfg.model.pretrained_model_name_or_path}\n"
            f"The student's: {len(tokenizer):,} tokens, of {tokenizer.name_or_path}\n"
            "Choose two models with one vocabulary, such as bert and distilbert; or model.from_run with fewer layers."
        )
    segments = {"token_type_ids"} & {*its_own.model_input_names} - {*tokenizer.model_input_names}
    if segments and len(preprocessor.input_columns) > 1:
        raise UserError(
            f"distill.teacher={folder} reads which text of a pair a token belongs to, and the student's tokenizer does not say it.\n"
            "Choose a student that reads token_type_ids, such as bert or minilm."
        )
    positions = getattr(task.model.config, "max_position_embeddings", None)
    longest = min(max_length or 0, tokenizer.model_max_length)
    if positions is not None and longest > positions:
        raise UserError(
            f"distill.teacher={folder} reads {positions} tokens, and data.max_length is {longest}.\n"
            f"Lower it: data.max_length={positions}"
        )
    task.eval().requires_grad_(False)
    reads = {*its_own.model_input_names, "labels"}

    def answer(batch: dict[str, Any]) -> Tensor:
        device = batch["input_ids"].device
        if task.device != device:
            task.to(device)
        logits: Tensor = task({name: value for name, value in batch.items() if name in reads})
        return logits

    config: Any = task.model.config
    return Teacher(
        answer=answer,
        label_names=[config.id2label[index] for index in range(config.num_labels)],
        problem_type=getattr(config, "problem_type", None),
        folder=folder,
        temperature=temperature,
        alpha=alpha,
    )
