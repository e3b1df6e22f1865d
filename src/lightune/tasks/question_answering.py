"""Extractive question answering: which part of a text answers a question, if any."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor
from torchmetrics import MetricCollection
from transformers import AutoModelForQuestionAnswering

from lightune.common.bounds import Count
from lightune.common.errors import UserError
from lightune.models.pretrained import PretrainedModel
from lightune.tasks.analysis.answers import Answers
from lightune.tasks.base import Task
from lightune.tasks.batch import Batch, RowResult, inputs
from lightune.tasks.explanation_target import Span, Target
from lightune.tasks.export_usage import Usage, tokenizer_call
from lightune.tasks.losses import cross_entropy
from lightune.tasks.metrics.squad import SquadScore, kind_of_error
from lightune.tuning.recipe import Recipe

PRINT_ANSWER = """\
first, last = int(start_logits.argmax()), int(end_logits.argmax())
print(tokenizer.decode(inputs["input_ids"][0][first : last + 1]))"""


class Candidate(NamedTuple):
    """A part of a context that may be the answer, by its characters; None for no answer."""

    logit: float
    start: int | None
    end: int | None


class QuestionAnswering(Task):
    """Fine-tune a pretrained model with a head that finds the first and the last token of an answer.

    An answer is the best over all windows of its context; a question has none if the score for that, the lowest over the
    windows, is above the best answer's by more than ``null_score_diff_threshold``. Source: Devlin et al. (2019).

    Args:
        version_2_with_negative: whether questions may have no answer.
        n_best_size: starts and ends that are tried for each window, and answers returned for a question.
        max_answer_length: tokens.
        null_score_diff_threshold: the higher, the fewer questions have no answer.
    """

    monitor = ("val/f1", "max")
    encodes_rows = True
    bidirectional = True
    is_explainable = True
    analysis = Answers
    pipeline_tag = "question-answering"
    auto_class = AutoModelForQuestionAnswering
    fitting_models = "model=minilm, bert, roberta, deberta, modernbert, …"
    onnx_outputs = ("start_logits", "end_logits")
    predict_arguments = '--question "…" --context "…"'

    def __init__(
        self,
        *,
        pretrained: PretrainedModel,
        head: dict[str, Any],
        recipe: Recipe,
        version_2_with_negative: bool = False,
        n_best_size: int = 20,
        max_answer_length: Count = 30,
        null_score_diff_threshold: float = 0.0,
    ) -> None:
        super().__init__(
            model=pretrained.load_model(self.auto_class, num_labels=2, **head),
            metrics=MetricCollection({"squad": SquadScore(version_2_with_negative=version_2_with_negative)}),
            recipe=recipe,
        )
        self.version_2_with_negative = version_2_with_negative
        self.n_best_size = n_best_size
        self.max_answer_length = max_answer_length
        self.null_score_diff_threshold = null_score_diff_threshold
        self._predictions: list[dict[str, Any]] = []  # for the last held-out batch

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (windows, length, 2) of being the first and the last token of the answer."""
        outputs = self.model(**inputs(batch))
        return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss over starts and ends, and their number, of logits (windows, length, 2)."""
        return cross_entropy(_over_tokens(logits, batch), batch["labels"])

    def at_targets(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().at_targets(_over_tokens(logits, batch), batch)

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        self._predictions = self._predict(logits, batch)
        answers = [prediction["answer"] for prediction in self._predictions]
        metrics.update(answers, [row["answers"] for row in batch["rows"]])

    def row_results(self, logits: Tensor, batch: Batch) -> list[RowResult]:
        """Return the ``predicted`` answer of each row, its ``start``, ``score``, ``exact_match``, ``f1``, kind of ``error``."""
        sizes = [len(row["offsets"]) for row in batch["rows"]]
        losses = self.row_losses(logits, batch, sizes)
        results = []
        for loss, row, prediction in zip(losses, batch["rows"], self._predictions, strict=True):
            answer = prediction["answer"]
            judge = SquadScore(version_2_with_negative=self.version_2_with_negative)
            judge.update([answer], [row["answers"]])
            results.append(
                loss
                | {"predicted": answer, "start": prediction["start"], "score": prediction["score"]}
                | {"exact_match": judge.exact_match.sum().item(), "f1": judge.f1.sum().item()}
                | {"error": kind_of_error(answer, row["answers"])}
            )
        return results

    def predict_step(self, batch: Batch, batch_idx: int) -> list[dict[str, Any]]:
        """Return a dictionary a row: ``answer``, ``score``, ``start``, ``end``, and ``n_best`` of the same.

        ``start`` and ``end`` count characters of the context; ``score`` is a softmax over the candidates. No answer is an
        empty text without a place.
        """
        return self._predict(self(batch).float(), batch)

    def explained(self, logits: Tensor, batch: Batch, *, label: str | None) -> list[Target]:
        if label is not None:
            raise UserError("--target is for runs with labels; of a question, the answer is explained.")
        row, prediction = batch["rows"][0], self.predict_step(batch, 0)[0]
        start, end, score = prediction["start"], prediction["end"], prediction["score"]
        if start is None:  # no answer starts and ends at the first token
            window = int(logits[: len(row["offsets"]), 0].sum(dim=-1).argmin())
            return [Target("no answer", score, [(0, 0), (1, 0)], window)]
        places = []
        for window, offsets in enumerate(row["offsets"]):
            first = np.flatnonzero((offsets[:, 0] <= start) & (start < offsets[:, 1]))
            last = np.flatnonzero((offsets[:, 0] < end) & (end <= offsets[:, 1]))
            if len(first) and len(last):
                logit = float(logits[window, first[0], 0] + logits[window, last[-1], 1])
                places.append((logit, window, int(first[0]), int(last[-1])))
        _, window, first_token, last_token = max(places)
        cells = [(0, first_token), (1, last_token)]
        return [Target(prediction["answer"], score, cells, window, (1, start, end))]

    def explained_scores(self, inputs: Batch) -> Tensor:
        return super().explained_scores(inputs).transpose(1, 2)  # the alternatives are the tokens

    def explained_texts(self, texts: Sequence[Any], batch: Batch) -> list[tuple[str, list[Span] | None]]:
        question, context = texts
        return [(question.strip(), None), (context, None)]  # a question is read without spaces around it

    def usage(self, preprocessor: Any, *, tensors: str) -> Usage:
        texts = '"Who came?", "Ann came home."'
        call = tokenizer_call(preprocessor, texts, tensors=tensors, truncation='"only_second"')
        return Usage(call, PRINT_ANSWER)

    def _predict(self, logits: Tensor, batch: Batch) -> list[dict[str, Any]]:
        """Return what ``predict_step`` returns; no answer is a candidate where there may be none.

        Logits are (windows, length, 2), of all rows; ``offsets`` of a row (its windows, length, 2) the tokens' places.
        """
        values, predictions, window = logits.cpu().numpy(), [], 0
        for row in batch["rows"]:
            windows = values[window : window + len(row["offsets"])]
            window += len(windows)
            candidates = [
                candidate
                for scores, offsets in zip(windows, row["offsets"], strict=True)
                for candidate in self._candidates(scores, offsets, row["context"])
            ]
            unique = {(c.start, c.end): c for c in sorted(candidates, key=lambda c: c.logit)}
            best = sorted(unique.values(), key=lambda c: -c.logit)[: self.n_best_size]
            chosen = best[0] if best else None
            if self.version_2_with_negative or chosen is None:
                # the label of no answer is [CLS], the first token
                nothing = Candidate(float(windows[:, 0].sum(axis=-1).min()), None, None)
                if chosen is None or nothing.logit - chosen.logit > self.null_score_diff_threshold:
                    chosen = nothing
                best = sorted([*best, nothing], key=lambda c: -c.logit)
            n_best = [
                {"answer": "" if c.start is None else row["context"][c.start : c.end], "score": score}
                | {"start": c.start, "end": c.end}
                for c, score in zip(best, softmax([c.logit for c in best]).tolist(), strict=True)
            ]
            predictions.append(n_best[best.index(chosen)] | {"n_best": n_best})
        return predictions

    def _candidates(self, scores: np.ndarray, offsets: np.ndarray, context: str) -> list[Candidate]:
        """Return the best spans of one window; scores (length, 2), offsets (length, 2), -1 outside the context."""
        inside = np.flatnonzero(offsets[:, 0] >= 0)
        starts, ends = (inside[np.argsort(-scores[inside, side], kind="stable")[: self.n_best_size]] for side in (0, 1))
        first, last = np.meshgrid(starts, ends, indexing="ij")
        fits = (last >= first) & (last - first < self.max_answer_length)
        first, last = first[fits], last[fits]
        total = scores[first, 0] + scores[last, 1]
        candidates = []
        for index in np.argsort(-total, kind="stable")[: self.n_best_size]:
            start, end = int(offsets[first[index], 0]), int(offsets[last[index], 1])
            text = context[start:end]
            start += len(text) - len(text.lstrip())  # some tokenizers count the space before a word to it
            end = start + len(text.strip())
            if start < end:
                candidates.append(Candidate(float(total[index]), start, end))
        return candidates


def _over_tokens(logits: Tensor, batch: Batch) -> Tensor:
    """Return (windows, 2, length): a start and an end are each one of the window's tokens, and none of the padding."""
    mask = batch["attention_mask"].unsqueeze(-1) == 0
    return logits.float().masked_fill(mask, torch.finfo(torch.float32).min).transpose(1, 2)
