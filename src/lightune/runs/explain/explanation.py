"""The explanation of a prediction: which words spoke for it, and which against."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightune.common.errors import UserError
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.lengths import check_offsets
from lightune.data.preprocessors.windows import Place
from lightune.data.preprocessors.words import split_words
from lightune.runs.explain.gradients import Attribution, integrated_gradients
from lightune.runs.explain.words import merge_words
from lightune.runs.inference import encode_rows, make_batch
from lightune.tasks import Task, tasks_that
from lightune.tasks.batch import inputs
from lightune.tasks.explanation_target import Target, target_output

MOST_TOKENS = 4096  # of all windows that a label is of: their activations are held together


class Word(NamedTuple):
    """A word of a text and its effect on the label."""

    place: Place
    text: str
    score: float | None
    """The word's share of the output; None: the model did not read it, as the text was cut or read in windows."""

    explained: bool
    """Whether the label is of this word."""


@dataclass(frozen=True, kw_only=True)
class Explanation(Attribution):
    """Why a label was predicted; the baseline has padding in place of every word."""

    label: str
    """A label, a type of entity or an answer; ``value`` for a regression."""

    probability: float | None
    """As ``lightune predict`` gives it; None for a regression."""

    texts: tuple[str, ...]
    words: tuple[Word, ...]

    @property
    def labelled(self) -> str:
        """The part of the text that has the label; empty where the label is of the whole text."""
        mine = [word.place for word in self.words if word.explained]
        return self.texts[mine[0].text][mine[0].start : mine[-1].end] if mine else ""

    def strongest(self, *, count: int) -> list[Word]:
        """Return the words with the largest scores, for or against, the largest first."""
        read = [word for word in self.words if word.score]
        return sorted(read, key=lambda word: -abs(word.score or 0))[:count]


def check_explainable(task: type[Task], *, name: str) -> None:
    """Raise a UserError, whose message begins with ``name``, if a task does not say which output to explain."""
    if not task.is_explainable:
        reason = (
            "whose predictions are many tokens long: there is no single number to explain"
            if task.streams
            else "whose class does not say which output to explain (Task.is_explainable)"
        )
        raise UserError(
            f"{name}, {reason}.\nlightune explain works for {tasks_that(lambda other: other.is_explainable)}."
        )


def explain(
    task: Task, preprocessor: Preprocessor, texts: Sequence[Any], *, target: str | None = None
) -> list[Explanation]:
    """Explain the prediction for one row, in float32 on the device where the model is.

    The baseline of integrated gradients is the text with padding in place of each of its tokens; [CLS], [SEP] and the like
    stay. It should say nothing (Sundararajan et al., 2017). On the quickstart's validation rows padding is judged neutral
    (log-odds of 0.1) while masks are taken for a bad review (-0.9), and the words that it finds matter more when they are
    deleted; every tokenizer has it. No other thread may use the model meanwhile.

    ``texts`` are the row's ``preprocessor.input_columns``, for token classification also as a list of words; the label
    to explain is ``target``, None: the prediction.

    Returns:
        One explanation; with several labels at once one for each predicted label, for token classification one for each
        entity, which may be none.

    Raises:
        UserError: there is nothing to read, no such label, or this model or task cannot be explained.
    """
    check_explainable(type(task), name=f"This is a run of {type(task).__name__}")
    reader: Any = preprocessor  # knows the places of its tokens, as those of explainable tasks do
    check_offsets(reader.tokenizer)
    if getattr(task.model.config, "is_encoder_decoder", False):
        raise UserError("This model reads a text twice, as encoder and decoder: only encoders are explained.")
    features = encode_rows(preprocessor, [texts])
    places = reader.locate_tokens(texts)
    with _as_in_prediction(task):
        batch = make_batch(preprocessor, features, device=task.device)
        if (tokens := batch["input_ids"].numel()) > MOST_TOKENS and batch.get("num_windows", [1]) != [1]:
            raise UserError(
                f"This text fills {tokens:,} tokens of windows, and up to {MOST_TOKENS:,} are explained.\nShorten it."
            )
        texts, spans = zip(*task.explained_texts(texts, batch), strict=True)
        words = [split_words(t).offsets if span is None else span for t, span in zip(texts, spans, strict=True)]
        with torch.no_grad():
            targets = task.explained(task(batch).float().cpu(), batch, label=target)
        explanations = []
        for chosen in targets:
            number = chosen.window
            read = slice(None) if number is None else slice(number, number + 1)
            windows = {name: tensor[read] for name, tensor in inputs(batch).items()}
            masks = zip(places[read], windows["attention_mask"], strict=True)
            of_tokens = [place for places_read, mask in masks for place in _padded(places_read, mask)]
            whole_words, owners = merge_words(texts, words, of_tokens)
            attribution = _attribute(task, reader.tokenizer.pad_token_id, windows, owners, chosen)
            explanations.append(_explanation(texts, whole_words, owners, attribution, chosen))
    return explanations


def _padded(places: list[Place | None], attention_mask: Tensor) -> list[Place | None]:
    padding: list[Place | None] = [None] * (len(attention_mask) - len(places))
    return places + padding if attention_mask[0] == 1 else padding + places


def _attribute(
    task: Task, pad_token_id: int, windows: dict[str, Tensor], owners: list[int], target: Target
) -> Attribution:
    baseline = windows["input_ids"].clone()
    number = len(baseline)

    def output(rows: dict[str, Tensor]) -> Tensor:
        sizes = {} if number == 1 else {"num_windows": [number] * (len(rows["input_ids"]) // number)}
        return target_output(task.explained_scores({**rows, **sizes}), target)

    baseline.view(-1)[[token for token, word in enumerate(owners) if word >= 0]] = pad_token_id
    return integrated_gradients(task.model, output=output, inputs=windows, baseline_ids=baseline)


def _explanation(
    texts: Sequence[str], words: list[Place], owners: list[int], attribution: Attribution, target: Target
) -> Explanation:
    scores: list[float | None] = [None] * len(words)
    for owner, score in zip(owners, attribution.scores.tolist(), strict=True):
        if owner >= 0:
            scores[owner] = (scores[owner] or 0.0) + score
    labelled, start, end = target.span or (-1, 0, 0)
    explained = [place.text == labelled and place.start < end and start < place.end for place in words]
    parts = [texts[place.text][place.start : place.end] for place in words]
    return Explanation(
        **vars(attribution),
        label=target.label,
        probability=target.probability,
        texts=tuple(texts),
        words=tuple(map(Word, words, parts, scores, explained)),
    )


@contextmanager
def _as_in_prediction(task: Task) -> Iterator[None]:
    """Turn dropout and the gradients of weights off; half precision would round away what differs between two steps."""
    modes = [(module, module.training) for module in task.modules()]
    trained = [weight for weight in task.parameters() if weight.requires_grad]
    task.eval().requires_grad_(False)
    try:
        with torch.inference_mode(False), torch.autocast(task.device.type, enabled=False):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for weight in trained:
            weight.requires_grad_(True)
