"""Text classification: one label of many, several labels at once, or a number (regression)."""

from collections.abc import Sequence
from typing import Any

import torch
from scipy.special import logit
from torch import Tensor
from torchmetrics import MetricCollection
from transformers import AutoModelForSequenceClassification

from lightune.common.errors import UserError, nearest
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE, is_unlabelled
from lightune.tasks.analysis.base import RowAnalysis
from lightune.tasks.analysis.labels import Number, OneLabel, SeveralLabels
from lightune.tasks.batch import Batch, RowResult, inputs, pool_windows
from lightune.tasks.classification import Classification
from lightune.tasks.explanation_target import Target
from lightune.tasks.export_usage import Usage, tokenizer_call
from lightune.tasks.metrics.classification import classification_metrics

WINDOWS_AT_A_TIME = 64  # in a prediction: a book has hundreds, whose activations would fill the memory
MONITORS = {SINGLE: ("val/accuracy", "max"), MULTI: ("val/f1", "max"), REGRESSION: ("val/loss", "min")}
PRINTS = {
    SINGLE: "print([config.id2label[best] for best in logits.argmax(-1).tolist()])",
    MULTI: """\
least = {least}  # a label is there where its logit is above
for row in logits.tolist():
    print([config.id2label[index] for index, logit in enumerate(row) if logit > least[index]])""",
    REGRESSION: "print(logits.squeeze(-1).tolist())",
}


class TextClassification(Classification):
    """Fine-tune a pretrained model with a classification head on texts or pairs of texts.

    Loss and metrics follow the kind of labels (transformers' ``problem_type``):

    - ``single_label_classification``: cross-entropy; accuracy, macro F1, precision and recall (macro and
      for each class), Matthews correlation, confusion matrix.
    - ``multi_label_classification``: binary cross-entropy for each label; the same figures, where ``accuracy``
      counts a row as right only if all its labels are.
    - ``regression``: mean squared error; ``mse``, ``mae``, ``pearson``, ``spearman``.

    The arguments are those of ``lightune.tasks.classification.Classification``.
    """

    monitor = MONITORS[SINGLE]
    pipeline_tag = "text-classification"
    calibrated = (SINGLE, MULTI)
    auto_class = AutoModelForSequenceClassification
    min_score: float | None = None
    """Of one label: the least probability of one that is predicted."""

    @property
    def thresholds(self) -> list[float]:
        """The probability above which a row has a label, of several at once."""
        chosen: list[float] = (self.calibration or {}).get("thresholds") or [0.5] * len(self.label_names)
        return chosen

    def own_metrics(self, model: Any) -> tuple[MetricCollection, set[str]]:
        self.problem_type = model.config.problem_type
        self.label_names, self.monitor = self.classes, MONITORS[self.problem_type]
        metrics = classification_metrics(self.problem_type, self.label_names)
        # one that was asked for with options takes the place of the own
        return metrics, {*metrics} - {"calibration_error"}

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of each row, (rows, num_labels); of a row of several windows, their mean."""
        return pool_windows(super().forward(batch), batch)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor | int]:
        """Return the mean loss over the rows that have a label, and the number of rows, or of their weights.

        Args:
            logits: (batch, num_labels).
            batch: with ``labels`` (batch,) of class indices or numbers, or (batch, num_labels) of 0 and 1.
        """
        outputs, labels = self._outputs(logits), batch["labels"]
        if self.recipe.teacher is not None:
            labelled = ~is_unlabelled(labels)
            outputs, labels = outputs[labelled], labels[labelled]
        loss: tuple[Tensor, Tensor | int] = self.criterion(outputs, labels)
        return loss

    def at_targets(self, logits: Tensor, batch: Batch) -> Tensor:
        return logits

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        if self.problem_type == REGRESSION:
            metrics.update(self._outputs(logits), batch["labels"])
            return
        # of logits, torchmetrics takes those for probabilities that lie between 0 and 1
        probabilities, labels = self._probabilities(logits), batch["labels"].long()
        decided = self._decided(probabilities) if self.problem_type == MULTI else probabilities
        for metric in metrics.values(copy_state=False):
            # a wrapper has none, and wraps one that has
            threshold = getattr(getattr(metric, "metric", metric), "threshold", None)
            metric.update(decided if threshold == 0.5 else probabilities, labels)

    def row_results(self, logits: Tensor, batch: Batch) -> list[RowResult]:
        """Return ``true`` and ``predicted`` of each row, and ``probabilities`` in the order of the labels.

        One of many labels is its index, several at once are lists of 0 and 1, a regression's are numbers.
        """
        # other values of a batch may be of windows, which are several a row
        rows, true = self.row_losses(logits, {"labels": batch["labels"]}), batch["labels"]
        if self.problem_type == REGRESSION:
            values = zip(rows, true.tolist(), self._outputs(logits).tolist(), strict=True)
            return [row | {"true": true, "predicted": value} for row, true, value in values]
        probabilities = self._probabilities(logits)
        if self.problem_type == SINGLE:
            predicted = probabilities.argmax(dim=-1)
        else:
            true, predicted = true.long(), self._decided(probabilities)
        found = zip(rows, true.tolist(), predicted.tolist(), probabilities.tolist(), strict=True)
        return [
            row | {"true": label, "predicted": best, "probabilities": [float(f"{p:.6g}") for p in of_row]}
            for row, label, best, of_row in found
        ]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.problem_type == MULTI:
            # exports hold it
            self.model.config.thresholds = self.thresholds

    @classmethod
    def analyse(cls, rows: list[RowResult], label_names: Sequence[str]) -> RowAnalysis:
        if not rows:
            return RowAnalysis(rows, label_names)
        if "probabilities" not in rows[0]:
            return Number(rows, label_names)
        return (SeveralLabels if isinstance(rows[0]["true"], list) else OneLabel)(rows, label_names)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[dict[str, Any]]:
        """Return a dictionary a row: ``label``, ``score`` and ``probabilities`` by label name.

        Under ``min_score`` the label is None, and ``abstained`` is true. With several labels at once ``labels`` lists those
        above their thresholds; a regression gives ``value``.
        """
        logits = self(batch) if "num_windows" not in batch else self._predict_windows(batch)
        logits = logits.float()
        if self.problem_type == REGRESSION:
            return [{"value": value} for value in self._outputs(logits).tolist()]
        predictions: list[dict[str, Any]] = []
        for values in self._probabilities(logits).tolist():
            row = dict(zip(self.label_names, values, strict=True))
            if self.problem_type == MULTI:
                least = dict(zip(row, self.thresholds, strict=True))
                predictions.append({"labels": [name for name, p in row.items() if p > least[name]]})
            else:
                best = max(row, key=row.__getitem__)
                predictions.append({"label": best, "score": row[best]})
                if self.min_score is not None:
                    abstained = row[best] < self.min_score
                    predictions[-1] |= {"label": None if abstained else best, "abstained": abstained}
            predictions[-1]["probabilities"] = row
        return predictions

    def explained(self, logits: Tensor, batch: Batch, *, label: str | None) -> list[Target]:
        if self.problem_type == REGRESSION:
            if label is not None:
                raise UserError(f"--target {label}: this run predicts a number, not one of several labels.")
            return [Target("value", None, [(0,)], against_others=False)]
        prediction = self.predict_step(batch, 0)[0]
        probabilities = prediction["probabilities"]
        if label is not None and label not in probabilities:
            raise UserError(f"--target {label}: no such label. {nearest(label, self.label_names)}")
        best = [max(probabilities, key=probabilities.__getitem__)]
        names = [label] if label is not None else prediction.get("labels") or best
        return [
            Target(n, probabilities[n], [(self.label_names.index(n),)], against_others=self.problem_type == SINGLE)
            for n in names
        ]

    def usage(self, preprocessor: Any, *, tensors: str) -> Usage:
        texts = ", ".join(['["A text."]', '["The text beside it."]'][: len(preprocessor.input_columns)])
        output = PRINTS[self.problem_type].format(least=logit(self.thresholds).round(6).tolist())
        stride = getattr(preprocessor, "doc_stride", None)
        if stride is None:
            return Usage(tokenizer_call(preprocessor, texts, tensors=tensors), output)
        options = f"stride={stride}, return_overflowing_tokens=True, "
        call = tokenizer_call(preprocessor, texts, tensors=tensors, options=options)
        call += '\ninputs.pop("overflow_to_sample_mapping")  # all windows are of the one text'
        return Usage(call, f"logits = logits.mean(0)[None]\n{output}")

    def confusion_matrix(self) -> list[list[int]] | None:
        if self.problem_type != SINGLE:
            return None
        counts: list[list[int]] = self.test.compute()["test/confusion_matrix"].tolist()
        return counts

    def _predict_windows(self, batch: Batch) -> Tensor:
        """Return what ``forward`` does, ``WINDOWS_AT_A_TIME``."""
        starts = range(0, len(batch["input_ids"]), WINDOWS_AT_A_TIME)
        pieces = [{n: t[start : start + WINDOWS_AT_A_TIME] for n, t in inputs(batch).items()} for start in starts]
        return pool_windows(torch.cat([self(piece) for piece in pieces]), batch)

    def _outputs(self, logits: Tensor) -> Tensor:
        """Return the logits (batch, num_labels), or the numbers of a regression (batch,)."""
        return (logits.squeeze(-1) if self.problem_type == REGRESSION else logits).float()

    def _decided(self, probabilities: Tensor) -> Tensor:
        """Return 1 where a label is there, of several at once; (rows, labels)."""
        return (probabilities > probabilities.new_tensor(self.thresholds)).long()

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid() if self.problem_type == MULTI else logits.float().softmax(dim=-1)
