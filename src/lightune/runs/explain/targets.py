"""What of a model's output is explained: a label of a text, the type of an entity, the place of an answer."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightune.common.errors import UserError, nearest
from lightune.common.tags import entity_types
from lightune.tasks import QuestionAnswering, Task, TextClassification, TokenClassification
from lightune.tasks.batch import Batch


class Target(NamedTuple):
    """One output of a model, for one window of a text."""

    label: str
    probability: float | None
    """As ``lightune predict`` gives it; None for a regression."""

    window: int
    cells: list[tuple[int, ...]]
    """Where it is found among the scores of a window."""

    span: tuple[int, int, int] | None = None
    """The characters that it labels: which text, first, end; None: it is of the whole text."""


def find(task: Task, logits: Tensor, batch: Batch, *, wanted: str | None) -> list[Target]:
    """Choose what to explain of a row: what is predicted, or the label that is wanted.

    Args:
        task: text classification, token classification or question answering.
        logits: of all windows of the row.
        batch: the row.
        wanted: a label, or a type of entity; where no entity has it, the word is explained that is likeliest to.

    Raises:
        UserError: there is no such label.
    """
    prediction = task.predict_step(batch, 0)[0]
    if isinstance(task, TextClassification):
        return _labels(task, prediction, wanted)
    if isinstance(task, TokenClassification):
        return _entities(task, logits, batch["rows"][0], prediction["entities"], wanted)
    assert isinstance(task, QuestionAnswering)
    if wanted is not None:
        raise UserError("--target is for runs with labels; of a question, the answer is explained.")
    return [_answer(logits, batch["rows"][0], prediction)]


def output(task: Task, inputs: dict[str, Tensor], target: Target) -> Tensor:
    """Return what is explained, (rows,): the log-odds of the target, their mean where it is of several words.

    Log-odds say the same as the probability, do not level off where that nears 1, and add up: evidence for other labels
    counts against this one. Of a regression it is the value.

    Args:
        task: the same.
        inputs: of windows, (rows, length) each.
        target: see :func:`find`.
    """
    scores = task(inputs).float()
    if isinstance(task, QuestionAnswering):
        scores = scores.transpose(1, 2)  # the tokens are what is chosen among
    values = []
    for *where, index in target.cells:
        row = scores[(slice(None), *where)]
        value = row[:, index]
        if getattr(task, "problem_type", None) not in {"regression", "multi_label_classification"}:
            others = torch.cat([row[:, :index], row[:, index + 1 :]], dim=1)
            value = value - others.logsumexp(dim=1)
        values.append(value)
    return torch.stack(values).mean(dim=0)


def _labels(task: TextClassification, prediction: dict[str, Any], wanted: str | None) -> list[Target]:
    if task.problem_type == "regression":
        if wanted is not None:
            raise UserError(f"--target {wanted}: this run predicts a number, not one of several labels.")
        return [Target("value", None, 0, [(0,)])]
    probabilities = prediction["probabilities"]
    if wanted is not None:
        if wanted not in probabilities:
            raise UserError(f"--target {wanted}: no such label. {nearest(wanted, task.label_names)}")
        names = [wanted]
    elif "label" in prediction:
        names = [prediction["label"]]
    else:
        names = prediction["labels"] or [max(probabilities, key=probabilities.__getitem__)]
    return [Target(name, probabilities[name], 0, [(task.label_names.index(name),)]) for name in names]


def _entities(
    task: TokenClassification,
    logits: Tensor,
    row: dict[str, Any],
    found: list[dict[str, Any]],
    wanted: str | None,
) -> list[Target]:
    if wanted is not None and wanted not in task.label_names:
        raise UserError(f"--target {wanted}: no such type of entity. {nearest(wanted, task.label_names)}")
    speaks = np.argwhere(row["words"] >= 0)  # windows and tokens, in the order of their words
    best = logits.argmax(dim=-1)
    targets = []
    for entity in found:
        if wanted not in (None, entity["type"]):
            continue
        mine = [
            (int(window), int(token))
            for window, token in speaks
            if entity["start"] <= row["offsets"][row["words"][window, token]][0] < entity["end"]
        ]
        window = mine[0][0]
        cells: list[tuple[int, ...]] = [(t, int(best[w, t])) for w, t in mine if w == window]
        span = (0, entity["start"], entity["end"])
        targets.append(Target(entity["type"], entity["score"], window, cells, span))
    if targets or wanted is None or not len(speaks):
        return targets
    tags = [index for index, tag in enumerate(task.tags) if entity_types([tag]) == [wanted]]
    likely = logits.softmax(dim=-1)[speaks[:, 0], speaks[:, 1]][:, tags]
    number, tag = divmod(int(likely.argmax()), len(tags))
    window, token = speaks[number].tolist()
    span = (0, *row["offsets"][row["words"][window, token]])
    return [Target(wanted, float(likely[number, tag]), window, [(token, tags[tag])], span)]


def _answer(logits: Tensor, row: dict[str, Any], prediction: dict[str, Any]) -> Target:
    if prediction["start"] is None:  # both its ends are at the first token
        window = int(logits[: len(row["offsets"]), 0].sum(dim=-1).argmin())
        return Target("no answer", prediction["score"], window, [(0, 0), (1, 0)])
    start, end = prediction["start"], prediction["end"]
    places = []
    for window, offsets in enumerate(row["offsets"]):
        first = np.flatnonzero((offsets[:, 0] <= start) & (start < offsets[:, 1]))
        last = np.flatnonzero((offsets[:, 0] < end) & (end <= offsets[:, 1]))
        if len(first) and len(last):
            score = float(logits[window, first[0], 0] + logits[window, last[-1], 1])
            places.append((score, window, int(first[0]), int(last[-1])))
    _, window, begins, ends = max(places)
    return Target(
        prediction["answer"], prediction["score"], window, [(0, begins), (1, ends)], (1, start, end)
    )
