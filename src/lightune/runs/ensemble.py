"""Several finished runs that answer as one, by the mean of their probabilities."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lightune.common.errors import UserError
from lightune.config import load_run_config
from lightune.config.arguments import named_by
from lightune.data.preprocessors.labels import MULTI, SINGLE
from lightune.runs.load_run import LoadedRun, rebuild, task_class
from lightune.runs.report.predictions import read_rows
from lightune.runs.run_folder import Run
from lightune.tasks import Task


class Ensemble(nn.Module):
    """The models of several tasks in place of one task's: it returns the logits of their mean answer.

    Source: Lakshminarayanan, Pritzel and Blundell (2017), Simple and Scalable Predictive Uncertainty Estimation using
    Deep Ensembles.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        # no ModuleList: that would be taken for a stack of layers
        self.members = nn.ModuleDict({str(number): task.model for number, task in enumerate(tasks)})
        self.config: Any = tasks[0].model.config
        self.outputs = tasks[0].onnx_outputs
        self.problem_type: str | None = getattr(tasks[0], "problem_type", None)

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        """Return the outputs of one of the models, each ``mean_logits`` of all, for inputs (batch, length)."""
        answers = [member(**inputs) for member in self.members.values()]
        logits = {name: torch.stack([getattr(answer, name).float() for answer in answers]) for name in self.outputs}
        return SimpleNamespace(**{name: mean_logits(of_all, self.problem_type) for name, of_all in logits.items()})


def mean_logits(logits: Tensor, problem_type: str | None) -> Tensor:
    """Return the logits (…, classes) of the mean of the members' probabilities; ``logits`` are (members, …, classes).

    Of a regression, and of anything but classes, it is the mean of the logits themselves.
    """
    if problem_type == SINGLE:
        return logits.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(logits))
    if problem_type == MULTI:
        return F.logsigmoid(logits).logsumexp(dim=0) - F.logsigmoid(-logits).logsumexp(dim=0)
    return logits.mean(dim=0)


def rebuild_together(folders: Sequence[Path]) -> LoadedRun:
    """Rebuild a run, or several whose models answer together under the first one's task, data and precision.

    Of several labels at once, a label's threshold is the mean of theirs.

    Raises:
        UserError: one is no finished run, they cannot answer together, or their task writes texts.
    """
    task = task_class(load_run_config(folders[0]))
    if len(folders) > 1 and not task.onnx_outputs:
        raise UserError(f"{folders[0]}: {task.__name__} has no answers that several runs could average. Name one run.")
    first, *others = runs = [LoadedRun(*rebuild(folder)) for folder in folders]
    for folder, other in zip(folders[1:], others, strict=True):
        kinds, wanted = _kinds(other), _kinds(first)
        if different := [name for name in wanted if kinds.get(name) != wanted[name]]:
            name = different[0]
            values = f": {wanted[name]} and {kinds.get(name)}" if name.startswith(("task", "data.")) else ""
            raise UserError(
                f"{folders[0]} and {folder} cannot answer together, as they differ in {name}{values}.\n"
                "Name runs of one task, with the same labels, tokenizer and data.max_length."
            )
    if others:
        members: list[Any] = [run.task for run in runs]
        first.task.model = Ensemble(members)
        if getattr(first.task, "problem_type", None) == MULTI:
            thresholds = np.mean([member.thresholds for member in members], axis=0).tolist()
            first.task.calibration = (first.task.calibration or {}) | {"thresholds": thresholds}
    return first


def _kinds(run: LoadedRun) -> dict[str, Any]:
    """Return what runs that answer together have in common."""
    config: Any = run.task.model.config
    read = named_by(type(run.preprocessor), vars(run.preprocessor))
    tokenizer = read.pop("tokenizer")
    return {
        "task": run.cfg.task_name,
        "labels": (list(config.id2label.values()), getattr(config, "problem_type", None)),
        "tokenizer": (tokenizer.get_vocab(), sorted(tokenizer.model_input_names)),
        # the columns of labels tell nothing of how a text is read
        **{f"data.{name}": value for name, value in read.items() if not name.startswith("label_")},
    }


def common_splits(folders: Sequence[Path]) -> list[str]:
    """Return the held-out splits, ``validation`` and ``test``, whose rows are the same in all runs: none has learned them."""
    if len(folders) == 1:
        return ["validation", "test"]
    rows: dict[str, list[set[str]]] = {"validation": [], "test": []}
    for run in map(Run, folders):
        for split, file in (("validation", run.validation_predictions), ("test", run.predictions)):
            rows[split].append({row["id"] for row in read_rows(file)})
    return [split for split, ids in rows.items() if ids[0] and all(one == ids[0] for one in ids)]
