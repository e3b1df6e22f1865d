"""Text classification: one label of many, several labels at once, or a number (regression)."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchmetrics import (
    MeanAbsoluteError,
    MeanSquaredError,
    MetricCollection,
    PearsonCorrCoef,
    SpearmanCorrCoef,
)
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassMatthewsCorrCoef,
    MulticlassPrecision,
    MulticlassRecall,
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelPrecision,
    MultilabelRecall,
)
from torchmetrics.wrappers import ClasswiseWrapper
from transformers import AutoModel, AutoModelForSequenceClassification

from lightune.common.errors import UserError, nearest
from lightune.models.pooling import PooledClassifier
from lightune.models.pretrained import PretrainedModel
from lightune.tasks.analysis.base import RowAnalysis
from lightune.tasks.analysis.labels import Number, OneLabel, SeveralLabels
from lightune.tasks.base import Task
from lightune.tasks.batch import Batch, RowResult
from lightune.tasks.explanation_target import Target
from lightune.tasks.export_usage import Usage, tokenizer_call
from lightune.tasks.losses import row_losses
from lightune.tuning.recipe import Recipe

PRINTS = {
    "single_label_classification": "print([config.id2label[best] for best in logits.argmax(-1).tolist()])",
    "multi_label_classification": (
        "for row in (logits >= 0).tolist():\n"
        "    print([config.id2label[index] for index, has_it in enumerate(row) if has_it])"
    ),
    "regression": "print(logits.squeeze(-1).tolist())",
}


class Pearson(PearsonCorrCoef):
    """Pearson's correlation; 0 where all labels or all predictions are the same, as Spearman's is."""

    def compute(self) -> Tensor:
        return super().compute().nan_to_num(nan=0.0)


class TextClassification(Task):
    """Fine-tune a pretrained model with a classification head on texts or pairs of texts.

    Loss and metrics follow the kind of labels (transformers' ``problem_type``):

    - ``single_label_classification``: cross-entropy; accuracy, macro F1, precision and recall (macro and
      for each class), Matthews correlation, confusion matrix.
    - ``multi_label_classification``: binary cross-entropy for each label; the same figures, where ``accuracy``
      counts a row as right only if all its labels are.
    - ``regression``: mean squared error; ``mse``, ``mae``, ``pearson``, ``spearman``.

    Args:
        pretrained: where the weights come from.
        head: ``num_labels``, ``id2label``, ``label2id`` and ``problem_type``, as the data says;
            empty where the model's own configuration holds them (a finished run).
        recipe: which weights move, how fast, and after which teacher.
    """

    monitor = ("val/accuracy", "max")
    encodes_rows = True
    is_explainable = True
    pipeline_tag = "text-classification"
    auto_class = AutoModelForSequenceClassification
    fitting_models = "model=minilm, bert, roberta, deberta, modernbert, …"
    onnx_outputs = ("logits",)

    def __init__(
        self,
        *,
        pretrained: PretrainedModel,
        head: dict[str, Any],
        recipe: Recipe,
    ) -> None:
        model: Any
        if pretrained.pooling is None:
            model = pretrained.load_model(self.auto_class, **head)
        else:
            model = PooledClassifier(pretrained.load_model(AutoModel, **head), pooling=pretrained.pooling)
        config = model.config
        self.problem_type: str = config.problem_type
        self.label_names = [config.id2label[index] for index in range(config.num_labels)]
        metrics, self.monitor = _metrics(self.problem_type, self.label_names)
        super().__init__(model=model, metrics=metrics, recipe=recipe)
        self.criterion: nn.Module = {
            "single_label_classification": nn.CrossEntropyLoss,
            "multi_label_classification": nn.BCEWithLogitsLoss,
            "regression": nn.MSELoss,
        }[self.problem_type]()

    @classmethod
    def check(cls, pretrained: PretrainedModel) -> None:
        auto_class = cls.auto_class if pretrained.pooling is None else AutoModel
        pretrained.check(auto_class, choose=cls.fitting_models)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Return the mean loss over the rows of a batch, and how many rows there are.

        Args:
            logits: (batch, num_labels).
            batch: with ``labels`` (batch,) of class indices or numbers, or (batch, num_labels) of 0 and 1.
        """
        labels = batch["labels"]
        predictions = logits.squeeze(-1) if self.problem_type == "regression" else logits
        return self.criterion(predictions.float(), labels), len(labels)

    def at_targets(self, logits: Tensor, batch: Batch) -> Tensor:
        return logits

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        labels = batch["labels"]
        if self.problem_type == "regression":
            metrics.update(logits.squeeze(-1), labels)
        else:
            metrics.update(logits, labels.long())

    def row_results(self, logits: Tensor, batch: Batch) -> list[RowResult]:
        """Return ``true`` and ``predicted`` of each row, and ``probabilities`` in the order of the labels.

        One of many labels is its index, several at once are lists of 0 and 1, a regression's are numbers.
        """
        labels = batch["labels"]
        if self.problem_type == "single_label_classification":
            losses, probabilities = row_losses(logits, labels), logits.softmax(dim=-1)
            predicted = logits.argmax(dim=-1)
        elif self.problem_type == "multi_label_classification":
            means = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=-1)
            losses = [{"loss": loss, "targets": 1} for loss in means.tolist()]
            probabilities, labels = logits.sigmoid(), labels.long()
            predicted = (probabilities > 0.5).long()  # as torchmetrics has it
        else:
            squares = (logits.squeeze(-1) - labels).square().tolist()
            values = zip(squares, labels.tolist(), logits.squeeze(-1).tolist(), strict=True)
            return [{"loss": loss, "targets": 1, "true": true, "predicted": p} for loss, true, p in values]
        rows = zip(losses, labels.tolist(), predicted.tolist(), probabilities.tolist(), strict=True)
        return [
            loss | {"true": true, "predicted": chosen, "probabilities": [round(p, 6) for p in row]}
            for loss, true, chosen, row in rows
        ]

    @classmethod
    def analyse(cls, rows: list[RowResult], label_names: Sequence[str]) -> RowAnalysis:
        if not rows:
            return RowAnalysis(rows, label_names)
        if "probabilities" not in rows[0]:
            return Number(rows, label_names)
        return (SeveralLabels if isinstance(rows[0]["true"], list) else OneLabel)(rows, label_names)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[dict[str, Any]]:
        """Return a dictionary a row: ``label``, ``score`` and ``probabilities`` by label name.

        With several labels at once ``labels`` lists those above one half; a regression gives ``value``.
        """
        logits = self(batch).float()
        if self.problem_type == "regression":
            return [{"value": value} for value in logits.squeeze(-1).tolist()]
        multi_label = self.problem_type == "multi_label_classification"
        probabilities = logits.sigmoid() if multi_label else logits.softmax(dim=-1)
        rows = [dict(zip(self.label_names, row, strict=True)) for row in probabilities.tolist()]
        if multi_label:
            return [
                {"labels": [name for name, p in row.items() if p >= 0.5], "probabilities": row}
                for row in rows
            ]
        best = [max(row, key=row.__getitem__) for row in rows]
        return [
            {"label": name, "score": row[name], "probabilities": row}
            for name, row in zip(best, rows, strict=True)
        ]

    def explained(self, logits: Tensor, batch: Batch, *, label: str | None) -> list[Target]:
        if self.problem_type == "regression":
            if label is not None:
                raise UserError(f"--target {label}: this run predicts a number, not one of several labels.")
            return [Target("value", None, [(0,)], against_others=False)]
        prediction = self.predict_step(batch, 0)[0]
        probabilities = prediction["probabilities"]
        if label is not None and label not in probabilities:
            raise UserError(f"--target {label}: no such label. {nearest(label, self.label_names)}")
        best = [max(probabilities, key=probabilities.__getitem__)]
        names = [label] if label is not None else prediction.get("labels") or best
        exclusive = self.problem_type == "single_label_classification"
        return [
            Target(name, probabilities[name], [(self.label_names.index(name),)], against_others=exclusive)
            for name in names
        ]

    def usage(self, preprocessor: Any, *, tensors: str) -> Usage:
        texts = ", ".join(['["A text."]', '["The text beside it."]'][: len(preprocessor.input_columns)])
        return Usage(tokenizer_call(preprocessor, texts, tensors=tensors), PRINTS[self.problem_type])

    def confusion_matrix(self) -> list[list[int]] | None:
        """Return the counts of the last test, rows true and columns predicted, where rows have one label each."""
        if self.problem_type != "single_label_classification":
            return None
        counts: list[list[int]] = self.test.compute()["test/confusion_matrix"].tolist()
        return counts


def _metrics(problem_type: str, label_names: list[str]) -> tuple[MetricCollection, tuple[str, str]]:
    """Return what is measured on held-out rows, and the metric that chooses the best checkpoint."""
    n = len(label_names)
    if problem_type == "regression":
        return MetricCollection(
            {
                "mse": MeanSquaredError(),
                "mae": MeanAbsoluteError(),
                "pearson": Pearson(),
                "spearman": SpearmanCorrCoef(),
            }
        ), ("val/loss", "min")
    if problem_type == "multi_label_classification":
        return MetricCollection(
            {
                "accuracy": MultilabelExactMatch(n),
                "f1": MultilabelF1Score(n, average="macro"),
                "precision": MultilabelPrecision(n, average="macro"),
                "recall": MultilabelRecall(n, average="macro"),
                "precision_by_label": ClasswiseWrapper(
                    MultilabelPrecision(n, average="none"), label_names, prefix="precision/"
                ),
                "recall_by_label": ClasswiseWrapper(
                    MultilabelRecall(n, average="none"), label_names, prefix="recall/"
                ),
            },
            compute_groups=False,  # a group cannot share the state inside ClasswiseWrapper
        ), ("val/f1", "max")
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(n, average="micro"),
            "f1": MulticlassF1Score(n, average="macro"),
            "precision": MulticlassPrecision(n, average="macro"),
            "recall": MulticlassRecall(n, average="macro"),
            "matthews_corrcoef": MulticlassMatthewsCorrCoef(n),
            "precision_by_label": ClasswiseWrapper(
                MulticlassPrecision(n, average="none"), label_names, prefix="precision/"
            ),
            "recall_by_label": ClasswiseWrapper(
                MulticlassRecall(n, average="none"), label_names, prefix="recall/"
            ),
            "confusion_matrix": MulticlassConfusionMatrix(n),
        },
        compute_groups=False,
    ), ("val/accuracy", "max")
