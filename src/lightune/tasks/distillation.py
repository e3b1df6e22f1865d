"""Knowledge distillation: a smaller model learns a finished run's answers beside the labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightune.common.errors import UserError, listed
from lightune.config.options import Between, Share

if TYPE_CHECKING:
    from lightune.tasks import Task


class Teacher:
    """A finished run that answers each training batch; no module, so that nobody trains, counts or saves it.

    Args:
        task: of the run, with its best weights.
        reads: what of a batch it reads, by name.
        folder: of the run.
        temperature: see :func:`load_teacher`.
        alpha: see :func:`load_teacher`.
    """

    def __init__(
        self, task: "Task", *, reads: list[str], folder: Path, temperature: float, alpha: float
    ) -> None:
        self.task = task.eval().requires_grad_(False)
        self.reads = {*reads, "labels"}
        self.folder = folder
        self.temperature = temperature
        self.alpha = alpha
        self.order: list[int] | None = None  # the teacher's index of each of the student's labels

    def check_labels(self, head: dict[str, Any]) -> None:
        """Hold the data's labels against the teacher's; by name, their order may differ.

        Raises:
            UserError: they are not the same.
        """
        if "id2label" not in head:
            return
        config: Any = self.task.model.config
        names = [config.id2label[index] for index in range(config.num_labels)]
        wanted = list(head["id2label"].values())
        kinds = getattr(config, "problem_type", None), head.get("problem_type")
        if set(names) != set(wanted) or kinds[0] != kinds[1]:
            of = [f" ({kind})" if kind else "" for kind in kinds]
            raise UserError(
                f"distill.teacher={self.folder} was trained on other labels than the data's.\n"
                f"The teacher's: {listed(names)}{of[0]}\n"
                f"The data's: {listed(wanted)}{of[1]}"
            )
        self.order = [names.index(name) for name in wanted]

    def mixed(self, loss: Tensor, logits: Tensor, *, student: "Task", batch: dict[str, Any]) -> Tensor:
        """Return the student's loss of a batch with the teacher's share in it.

        Args:
            loss: the student's on the labels, the mean over all targets.
            logits: the student's.
            student: knows where targets are.
            batch: what the student was given.
        """
        if self.task.device != logits.device:
            self.task.to(logits.device)
        with torch.no_grad():
            answers = self.task({name: value for name, value in batch.items() if name in self.reads})
        if self.order is not None:
            answers = answers[..., self.order]
        classes = min(answers.shape[-1], logits.shape[-1])  # embeddings padded to a rounder number of rows
        learned = soft_loss(
            student.at_targets(logits[..., :classes].float(), batch),
            student.at_targets(answers[..., :classes].float(), batch),
            problem_type=getattr(student, "problem_type", None),
            temperature=self.temperature,
        )
        return self.alpha * learned + (1 - self.alpha) * loss


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
    from lightune.runs.load import rebuild  # it needs the tasks, which need this module

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
    return Teacher(task, reads=its_own.model_input_names, folder=folder, temperature=temperature, alpha=alpha)


def soft_loss(student: Tensor, teacher: Tensor, *, problem_type: str | None, temperature: float) -> Tensor:
    """Return how far a student's answers are from its teacher's, the mean over targets; 0 without a target.

    Args:
        student: logits (targets, classes).
        teacher: the same.
        problem_type: ``regression``: the squared difference. ``multi_label_classification``: the binary cross-entropy of
            each label. Else the Kullback-Leibler divergence.
        temperature: by which logits are divided; a number has none.
    """
    if problem_type == "regression":
        return F.mse_loss(student, teacher)
    student, teacher = student / temperature, teacher / temperature
    if problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(student, teacher.sigmoid()) * temperature**2
    log_probabilities = student.log_softmax(dim=-1), teacher.log_softmax(dim=-1)
    total = F.kl_div(*log_probabilities, reduction="sum", log_target=True)
    return total / max(1, len(student)) * temperature**2
