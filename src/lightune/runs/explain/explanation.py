"""A prediction explained: which words spoke for it, and which against."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightune.common.errors import UserError
from lightune.data.preprocessors.base import Preprocessor, encode
from lightune.data.preprocessors.lengths import check_offsets
from lightune.data.preprocessors.places import Place
from lightune.data.preprocessors.question_answering import QuestionAnsweringPreprocessor
from lightune.data.preprocessors.text_classification import TextClassificationPreprocessor
from lightune.data.preprocessors.token_classification import TokenClassificationPreprocessor
from lightune.data.preprocessors.words import split
from lightune.runs.explain import targets
from lightune.runs.explain.gradients import Attribution, integrated_gradients
from lightune.runs.explain.targets import Target
from lightune.runs.explain.words import units
from lightune.tasks import Task
from lightune.tasks.batch import Batch, inputs


class Word(NamedTuple):
    """A word of a text and what it did for the label."""

    place: Place
    text: str
    score: float | None
    """What it added to the output; None: the model did not read it, the text was cut or this is another window."""

    explained: bool
    """Whether the label is this word's own."""


@dataclass(frozen=True)
class Explanation:
    """Why a label was given.

    The scores of all words add up to ``output - baseline``, but for ``delta``.
    """

    label: str
    """A label, a type of entity, an answer; ``value`` for a regression."""

    probability: float | None
    """As ``lightune predict`` gives it; None for a regression."""

    texts: tuple[str, ...]
    words: tuple[Word, ...]
    output: float
    """Log-odds of the label, or a regression's value."""

    baseline: float
    """The same with padding in place of every word."""

    delta: float
    """By how much the scores fail to add up."""

    steps: int
    converged: bool
    """Whether ``delta`` is within 5 % of ``output - baseline``."""

    @property
    def labelled(self) -> str:
        """The words that have the label, as they stand in the text; empty where it is of the whole text."""
        mine = [word.place for word in self.words if word.explained]
        return self.texts[mine[0].text][mine[0].start : mine[-1].end] if mine else ""

    def strongest(self, *, count: int) -> list[Word]:
        """Return the words with the largest scores, for or against, the largest first."""
        read = [word for word in self.words if word.score]
        return sorted(read, key=lambda word: -abs(word.score or 0))[:count]


def explain(
    task: Task, preprocessor: Preprocessor, texts: Sequence[Any], *, target: str | None = None
) -> list[Explanation]:
    """Explain what a model says of one row, in float32 on the device where it is.

    The baseline of integrated gradients is the text with padding in place of each of its tokens; [CLS], [SEP] and the like
    stay. It should say nothing (Sundararajan et al., 2017). On the quickstart's validation rows padding is judged neutral
    (log-odds of 0.1) while masks are taken for a bad review (-0.9), and the words that it finds matter more when they are
    deleted; every tokenizer has it. Nothing else may use the model meanwhile, from another thread.

    Args:
        task: of a finished run, its weights in float32.
        preprocessor: of the same run.
        texts: what ``preprocessor.input_columns`` names; for token classification also as a list of words.
        target: the label to explain; None: what is predicted.

    Returns:
        One explanation; with several labels at once one for each that is given, for token classification one for each
        entity, which may be none.

    Raises:
        UserError: there is nothing to read, no such label, or this model or task cannot be explained.
    """
    if not isinstance(
        preprocessor,
        TextClassificationPreprocessor | TokenClassificationPreprocessor | QuestionAnsweringPreprocessor,
    ):
        raise UserError("Labels, entities and answers are explained, not texts of many tokens.")
    check_offsets(preprocessor.tokenizer)
    if getattr(task.model.config, "is_encoder_decoder", False):
        raise UserError("This model reads a text twice, as encoder and decoder: only encoders are explained.")
    if isinstance(preprocessor, QuestionAnsweringPreprocessor):
        texts = [texts[0].strip(), texts[1]]  # as it is read
    features = encode(
        preprocessor, dict(zip(preprocessor.input_columns, ([text] for text in texts), strict=True))
    )
    windows = preprocessor.places(texts)
    with _as_in_prediction(task):
        batch: Batch = preprocessor.collate(features)
        batch = {name: value if name == "rows" else value.to(task.device) for name, value in batch.items()}
        if isinstance(preprocessor, TokenClassificationPreprocessor):
            read, words = [batch["rows"][0]["text"]], [batch["rows"][0]["offsets"]]
        else:
            read, words = list(texts), [split(text).offsets for text in texts]
        with torch.no_grad():
            logits = task(batch).float().cpu()
            found = targets.find(task, logits, batch, wanted=target)
        explanations = []
        for one in found:
            window = {name: tensor[one.window : one.window + 1] for name, tensor in inputs(batch).items()}
            places = _padded(windows[one.window], window["attention_mask"][0])
            units_of_row, owners = units(read, words, places)
            attribution = _attribute(task, preprocessor.tokenizer, window, owners, one)
            explanations.append(_explanation(read, units_of_row, owners, attribution, one))
    return explanations


def _padded(places: list[Place | None], attention_mask: Tensor) -> list[Place | None]:
    padding: list[Place | None] = [None] * (len(attention_mask) - len(places))
    return places + padding if attention_mask[0] == 1 else padding + places


def _attribute(
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    window: dict[str, Tensor],
    owners: list[int],
    target: Target,
) -> Attribution:
    baseline = window["input_ids"].clone()
    baseline[0, [index for index, owner in enumerate(owners) if owner >= 0]] = tokenizer.pad_token_id
    return integrated_gradients(
        task.model,
        output=lambda rows: targets.output(task, rows, target),
        inputs=window,
        baseline_ids=baseline,
    )


def _explanation(
    texts: list[str], words: list[Place], owners: list[int], attribution: Attribution, target: Target
) -> Explanation:
    scores: list[float | None] = [None] * len(words)
    for owner, score in zip(owners, attribution.scores.tolist(), strict=True):
        if owner >= 0:
            scores[owner] = (scores[owner] or 0.0) + score
    labelled, start, end = target.span or (-1, 0, 0)
    return Explanation(
        label=target.label,
        probability=target.probability,
        texts=tuple(texts),
        words=tuple(
            Word(
                place,
                texts[place.text][place.start : place.end],
                score,
                explained=place.text == labelled and place.start < end and start < place.end,
            )
            for place, score in zip(words, scores, strict=True)
        ),
        output=attribution.output,
        baseline=attribution.baseline,
        delta=attribution.delta,
        steps=attribution.steps,
        converged=attribution.converged,
    )


@contextmanager
def _as_in_prediction(task: Task) -> Iterator[None]:
    """Without dropout, and in float32: half precision rounds away what tells two steps apart."""
    modes = [(module, module.training) for module in task.modules()]
    task.eval()
    try:
        with torch.inference_mode(False), torch.autocast(task.device.type, enabled=False):
            yield
    finally:
        for module, training in modes:
            module.training = training
