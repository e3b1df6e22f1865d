"""Knowledge distillation: a smaller model learns a finished run's answers beside the labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lightune.common.errors import UserError, listed


class Student(Protocol):
    """Knows where the targets of a batch are."""

    def at_targets(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the logits of each target, (targets, classes)."""


class Teacher:
    """A finished run that answers each training batch; no module, so that nobody trains, counts or saves it.

    Args:
        answer: returns the logits of a batch, on the device of the batch.
        label_names: of the classes, in the order of the logits; None where the logits are over tokens.
        problem_type: of a classification head, see ``soft_loss``.
        folder: of the run, for messages.
        temperature: by which both logits are divided.
        alpha: the teacher's share of the loss.
    """

    def __init__(
        self,
        *,
        answer: Callable[[dict[str, Any]], Tensor],
        label_names: list[str] | None,
        problem_type: str | None,
        folder: Path,
        temperature: float,
        alpha: float,
    ) -> None:
        self.answer = answer
        self.label_names = label_names
        self.problem_type = problem_type
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
        names = self.label_names or []
        wanted = list(head["id2label"].values())
        kinds = self.problem_type, head.get("problem_type")
        if set(names) != set(wanted) or kinds[0] != kinds[1]:
            of = [f" ({kind})" if kind else "" for kind in kinds]
            raise UserError(
                f"distill.teacher={self.folder} was trained on other labels than the data's.\n"
                f"The teacher's: {listed(names)}{of[0]}\n"
                f"The data's: {listed(wanted)}{of[1]}"
            )
        self.order = [names.index(name) for name in wanted]

    def distillation_loss(
        self, loss: Tensor, logits: Tensor, *, student: Student, batch: dict[str, Any]
    ) -> Tensor:
        """Return the student's loss of a batch with the teacher's share in it.

        Args:
            loss: the student's on the labels, the mean over all targets.
            logits: the student's.
            student: knows where targets are.
            batch: what the student was given.
        """
        with torch.no_grad():
            answers = self.answer(batch)
        if self.order is not None:
            answers = answers[..., self.order]
        classes = min(answers.shape[-1], logits.shape[-1])  # embeddings padded to a rounder number of rows
        learned = soft_loss(
            student.at_targets(logits[..., :classes].float(), batch),
            student.at_targets(answers[..., :classes].float(), batch),
            problem_type=self.problem_type,
            temperature=self.temperature,
        )
        return self.alpha * learned + (1 - self.alpha) * loss


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
