"""The loss of a classification: the problem type's own, another of torch's, or one of one's own; with class weights."""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightune.common.errors import UserError, listed
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE

DEFAULTS: dict[str, Any] = {SINGLE: nn.CrossEntropyLoss, MULTI: nn.BCEWithLogitsLoss, REGRESSION: nn.MSELoss}
ClassWeights = Literal["balanced"] | dict[str, float]


class Criterion(nn.Module):
    """A loss with the number of targets that it is the mean over.

    Args:
        make: the loss, or what makes it, lists of numbers in place of tensors; None: the ``problem_type``'s. It takes
            logits (targets, classes) and labels (targets,); for several labels at once both are (rows, labels), for a
            regression both (rows,). It gives their mean, or a tensor of which the mean is taken.
        problem_type: transformers' name of the kind of labels.
        label_names: in the order of the logits.
        class_weights: by label name, or ``balanced``: the loss's ``weight``, of several labels its ``pos_weight`` if any.
        balanced: the weights that ``balanced`` means; None where they are not known.

    Raises:
        UserError: the loss gives a sum, would need training, or does not take weights that are one for each label.
    """

    def __init__(
        self,
        make: Callable[..., Any] | None,
        *,
        problem_type: str,
        label_names: Sequence[str],
        class_weights: ClassWeights | None = None,
        balanced: Sequence[float | None] | None = None,
    ) -> None:
        super().__init__()
        self.is_default = make is None and class_weights is None
        make = make or DEFAULTS[problem_type]
        given = (lambda: make) if isinstance(make, nn.Module) else make
        # Hydra's own kind of partial is not flattened
        made_by: partial[Any] = given if isinstance(given, partial) else partial(given)
        options = dict(made_by.keywords)
        if class_weights is not None:
            taken = inspect.signature(made_by.func).parameters
            key = "pos_weight" if problem_type == MULTI and "pos_weight" in taken else "weight"
            if problem_type == REGRESSION or key not in taken or options.get(key) is not None:
                why = "a regression has no classes" if problem_type == REGRESSION else f"task.criterion takes no {key}"
                why = f"task.criterion has a {key} already" if options.get(key) is not None else why
                raise UserError(f"task.class_weights={class_weights}: {why}.\nLeave one of them out.")
            options[key] = _by_label(class_weights, label_names, balanced)
        lists = {key: options[key] for key in ("weight", "pos_weight") if isinstance(options.get(key), list)}
        for key, numbers in lists.items():
            if len(numbers) != len(label_names):
                wanted = f"expected a number for each of {len(label_names)} labels: {listed(label_names)}"
                raise UserError(f"task.criterion.{key}={numbers}: {wanted}.")
        loss: Any = made_by(**options | {key: torch.tensor(numbers).float() for key, numbers in lists.items()})
        options |= {key: [round(number, 4) for number in numbers] for key, numbers in lists.items()}
        written = ", ".join(f"{key}={value}" for key, value in options.items())
        self.signature = f"{type(loss).__name__}({written})".removesuffix("()")
        if getattr(loss, "reduction", None) == "sum":
            raise UserError("task.criterion.reduction=sum: a step is the mean over its targets. Set mean or none.")
        if isinstance(loss, nn.Module) and [*loss.parameters()]:
            raise UserError(f"task.criterion: {self.signature} has weights of its own, which nothing would train.")
        self.loss = loss
        is_weighted = isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and loss.reduction == "mean"
        # torch then divides by the weights of the targets' classes
        self.divides = is_weighted and (self.loss.weight is not None or self.loss.ignore_index != -100)
        if self.divides:
            self.loss.reduction = "sum"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move to a device, and keep the type: logits come in float32."""
        return super()._apply(lambda tensor: fn(tensor).to(tensor.dtype), recurse)  # type: ignore[no-untyped-call]

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | int]:
        """Return the mean loss and the number of targets, or the sum of their weights; without a target both are 0."""
        if not len(labels):
            return logits.sum() * 0, 0
        loss: Tensor = self.loss(logits, labels)
        if not self.divides:
            return loss.mean(), len(labels)
        counted = labels[labels != self.loss.ignore_index]
        count = (logits.new_ones(logits.shape[1]) if self.loss.weight is None else self.loss.weight)[counted].sum()
        return loss / torch.where(count > 0, count, 1), count


def _by_label(asked: ClassWeights, names: Sequence[str], balanced: Sequence[float | None] | None) -> list[float]:
    known = zip(names, balanced or [None] * len(names), strict=True) if asked == "balanced" else dict(asked).items()
    weights = {str(name): math.nan if weight is None else weight for name, weight in known}
    wrong = [f"{n} has no weight of 0 or more" for n in names if not 0 <= weights.get(n, math.nan) < math.inf]
    wrong += [f"{name} is no label" for name in weights if name not in names]
    if wrong:
        needed = f"Labels: {listed(names)}. Each needs a weight, and for balanced a training row."
        raise UserError(f"task.class_weights={asked}: {listed(wrong)}.\n{needed}")
    return [weights[name] for name in names]
