"""Extractive question answering: which part of a text answers a question, if any."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MetricCollection
from transformers import AutoModelForQuestionAnswering

from lightune.common.bounds import Count
from lightune.common.errors import UserError
from lightune.models.pretrained import PretrainedModel
from lightune.tasks.analysis.answers import Answers
from lightune.tasks.base import Span, Task
from lightune.tasks.batch import Batch, RowResult, inputs
from lightune.tasks.explanation_target import Target
from lightune.tasks.export_usage import Usage, tokenizer_call
from lightune.tasks.losses import cross_entropy, row_losses
from lightune.tasks.metrics.squad import SquadScore, kind_of_error
from lightune.tuning.recipe import Recipe

Candidate = dict[str, Any]

PRINT_ANSWER = """\
first, last = int(start_logits.argmax()), int(end_logits.argmax())
print(tokenizer.decode(inputs["input_ids"][0][first : last + 1]))"""


class QuestionAnswering(Task):
    """Fine-tune a pretrained model with a head that finds the first and the last token of an answer.

    An answer is the best over all windows of its context; a question has none if the score for that, the lowest over the
    windows, is above the best answer's by more than ``null_score_diff_threshold``. Source: Devlin et al. (2019).

    Args:
        pretrained: where the weights come from.
        head: empty.
        version_2_with_negative: whether questions may have no answer.
        n_best_size: starts and ends that are tried for each window, and answers given for a question.
        max_answer_length: tokens.
        null_score_diff_threshold: the higher, the fewer questions have no answer.
        recipe: which weights move, how fast, and after which teacher.
    """

    monitor = ("val/f1", "max")
    encodes_rows = True
    bidirectional = True
    pipeline_tag = "question-answering"
    auto_class = AutoModelForQuestionAnswering
    fitting_models = "model=minilm, bert, roberta, deberta, modernbert, …"
    onnx_outputs = ("start_logits", "end_logits")
    is_explainable = True
    analysis = Answers
    predict_arguments = '--question "…" --context "…"'

    def __init__(
        self,
        *,
        pretrained: PretrainedModel,
        head: dict[str, Any],
        version_2_with_negative: bool,
        n_best_size: int,
        max_answer_length: Count,
        null_score_diff_threshold: float,
        recipe: Recipe,
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
        self._found: list[list[Candidate]] = []  # in the last held-out batch

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (windows, length, 2) of being the first and the last token of the answer."""
        outputs = self.model(**inputs(batch))
        return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss over starts and ends, and how many there are.

        Args:
            logits: (windows, length, 2).
            batch: with ``labels`` (windows, 2) of tokens.
        """
        return cross_entropy(_by_place(logits, batch), batch["labels"])

    def at_targets(self, logits: Tensor, batch: Batch) -> Tensor:
        return super().at_targets(_by_place(logits, batch), batch)

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        self._found = self._candidates(logits, batch)
        answers = [self._answer(candidates)["text"] for candidates in self._found]
        metrics.update(answers, [row["answers"] for row in batch["rows"]])

    def row_results(self, logits: Tensor, batch: Batch) -> list[RowResult]:
        """Return the ``predicted`` answer of each row, its ``start``, ``score``, ``exact_match``, ``f1``, kind of ``error``."""
        sizes = [len(row["offsets"]) for row in batch["rows"]]
        losses = row_losses(_by_place(logits, batch), batch["labels"], sizes)
        results = []
        for loss, row, candidates in zip(losses, batch["rows"], self._found, strict=True):
            best = self._answer(candidates)
            score = next(s for s, c in zip(_scores(candidates), candidates, strict=True) if c is best)
            judge = SquadScore(version_2_with_negative=self.version_2_with_negative)
            judge.update([best["text"]], [row["answers"]])
            results.append(
                loss
                | {"predicted": best["text"], "start": best["start"], "score": score}
                | {"exact_match": judge.exact_match.sum().item(), "f1": judge.f1.sum().item()}
                | {"error": kind_of_error(best["text"], row["answers"])}
            )
        return results

    def predict_step(self, batch: Batch, batch_idx: int) -> list[dict[str, Any]]:
        """Return a dictionary a row: ``answer``, ``score``, ``start``, ``end``, and ``n_best`` of the same.

        ``start`` and ``end`` count characters of the context; ``score`` is a softmax over the candidates. No answer is an
        empty text without a place.
        """
        predictions = []
        for candidates in self._candidates(self(batch).float(), batch):
            best = self._answer(candidates)
            n_best = [
                {"answer": c["text"], "score": score, "start": c["start"], "end": c["end"]}
                for c, score in zip(candidates, _scores(candidates), strict=True)
            ]
            chosen = next(n for n, c in zip(n_best, candidates, strict=True) if c is best)
            predictions.append(chosen | {"n_best": n_best})
        return predictions

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

    def explained_scores(self, inputs: dict[str, Tensor]) -> Tensor:
        return super().explained_scores(inputs).transpose(1, 2)  # the alternatives are the tokens

    def explained_texts(self, texts: Sequence[Any], batch: Batch) -> list[tuple[str, list[Span] | None]]:
        question, context = texts
        return [(question.strip(), None), (context, None)]  # a question is read without spaces around it

    def usage(self, preprocessor: Any, *, tensors: str) -> Usage:
        texts = '"Who came?", "Ann came home."'
        call = tokenizer_call(preprocessor, texts, tensors=tensors, truncation='"only_second"')
        return Usage(call, PRINT_ANSWER)

    def _answer(self, candidates: list[Candidate]) -> Candidate:
        """Choose among candidates, the best first: no answer must be better by the threshold."""
        found = [candidate for candidate in candidates if candidate["start"] is not None]
        nothing = [candidate for candidate in candidates if candidate["start"] is None]
        if not found:
            return nothing[0]
        if nothing and nothing[0]["logit"] - found[0]["logit"] > self.null_score_diff_threshold:
            return nothing[0]
        return found[0]

    def _candidates(self, logits: Tensor, batch: Batch) -> list[list[Candidate]]:
        """Return for each row its best answers, the best first; no answer is among them where that may be.

        Args:
            logits: (windows, length, 2), the windows of all rows.
            batch: with ``rows``, whose ``offsets`` (windows of the row, length, 2) say where tokens lie in the context.
        """
        values, found, window = logits.cpu().numpy(), [], 0
        for row in batch["rows"]:
            mine = values[window : window + len(row["offsets"])]
            window += len(row["offsets"])
            candidates: list[Candidate] = []
            for scores, offsets in zip(mine, row["offsets"], strict=True):
                candidates += self._spans(scores, offsets, row["context"])
            unique = {(c["start"], c["end"]): c for c in sorted(candidates, key=lambda c: c["logit"])}
            best = sorted(unique.values(), key=lambda c: -c["logit"])[: self.n_best_size]
            if self.version_2_with_negative or not best:
                null = mine[:, 0].sum(axis=-1).min()  # at [CLS], as labels say it
                best.append({"text": "", "start": None, "end": None, "logit": float(null)})
            found.append(sorted(best, key=lambda c: -c["logit"]))
        return found

    def _spans(self, scores: np.ndarray, offsets: np.ndarray, context: str) -> list[Candidate]:
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
                candidates.append(
                    {"text": context[start:end], "start": start, "end": end, "logit": float(total[index])}
                )
        return candidates


def _by_place(logits: Tensor, batch: Batch) -> Tensor:
    """Return (windows, 2, length): a start and an end are each one of the window's tokens, and none of the padding."""
    mask = batch["attention_mask"].unsqueeze(-1) == 0
    return logits.float().masked_fill(mask, torch.finfo(torch.float32).min).transpose(1, 2)


def _scores(candidates: list[Candidate]) -> list[float]:
    """Return a softmax over candidates."""
    logits = np.array([candidate["logit"] for candidate in candidates])
    exponents = np.exp(logits - logits.max())
    scores: list[float] = (exponents / exponents.sum()).tolist()
    return scores
