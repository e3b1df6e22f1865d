"""Knowledge distillation: a smaller model learns a finished run's answers beside the labels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lightune.common.errors import UserError, listed
from lightune.data.preprocessors.labels import is_unlabelled


@dataclass(kw_only=True, eq=False)
class Teacher:
    """A finished run that answers each training batch; not a module, so that it is not trained, counted or saved.

    Args:
        answer: returns the logits of a batch's targets (targets, classes), on the batch's device.
        label_names: of the classes, in the order of the logits; None where the logits are over tokens.
        problem_type: of a classification head, see ``soft_loss``.
        folder: of the run, or the folders of several, for messages.
        temperature: divides both models' logits.
        alpha: the teacher's share of the loss.
    """

    answer: Callable[[dict[str, Any]], Tensor]
    label_names: list[str] | None
    problem_type: str | None
    folder: str
    temperature: float
    alpha: float
    # the teacher's index of each of the student's labels
    _order: list[int] | None = field(default=None, init=False)

    def check_labels(self, head: dict[str, Any]) -> None:
        """Raise a UserError for other labels of the data than the teacher's; their order may differ."""
        if "id2label" not in head:
            return
        own, other = self.label_names or [], list(head["id2label"].values())
        kinds = self.problem_type, head.get("problem_type")
        if set(own) != set(other) or kinds[0] != kinds[1]:
            suffixes = [f" ({kind})" if kind else "" for kind in kinds]
            raise UserError(
                f"distill.teacher={self.folder} was trained on other labels than the data's.\n"
                f"The teacher's: {listed(own)}{suffixes[0]}\n"
                f"The data's: {listed(other)}{suffixes[1]}"
            )
        self._order = [own.index(name) for name in other]

    def distillation_loss(self, loss: Tensor, own: Tensor, *, labels: Tensor, batch: Any) -> tuple[Tensor, int]:
        """Return a batch's loss on the labels and on the teacher's answers, weighted by ``alpha``, and its targets.

        Args:
            loss: the mean over targets that have a label; one without counts as 0.
            own: the student's logits, (targets, classes).
            labels: of the targets, ``NO_LABEL`` or NaN where only the teacher knows it.
            batch: which the teacher answers.
        """
        with torch.no_grad():
            answers = self.answer(batch)
        if self._order is not None:
            answers = answers[..., self._order]
        # some models pad their vocabulary to a rounder size
        classes = min(answers.shape[-1], own.shape[-1])
        both = (logits[..., :classes].float() for logits in (own, answers))
        soft = soft_loss(*both, problem_type=self.problem_type, temperature=self.temperature)
        labelled = 1 - is_unlabelled(labels).sum() / max(1, len(own))
        return self.alpha * soft + (1 - self.alpha) * labelled * loss, len(own)


def soft_loss(student: Tensor, teacher: Tensor, *, problem_type: str | None, temperature: float) -> Tensor:
    """Return the mean loss of a student's logits (targets, classes) on its teacher's; 0 without a target.

    It is the squared difference for ``regression``, the binary cross-entropy of each label for
    ``multi_label_classification``, else the Kullback-Leibler divergence. The temperature divides both logits, but not
    the numbers of a regression.
    """
    if problem_type == "regression":
        return F.mse_loss(student, teacher)
    student, teacher = student / temperature, teacher / temperature
    if problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(student, teacher.sigmoid()) * temperature**2
    log_probabilities = student.log_softmax(dim=-1), teacher.log_softmax(dim=-1)
    total = F.kl_div(*log_probabilities, reduction="sum", log_target=True)
    return total / max(1, len(student)) * temperature**2
