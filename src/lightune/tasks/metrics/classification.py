"""The metrics of text classification, by the kind of labels (transformers' ``problem_type``)."""

from typing import Any

from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, PearsonCorrCoef, SpearmanCorrCoef
from torchmetrics import classification as tm
from torchmetrics.wrappers import ClasswiseWrapper


class Pearson(PearsonCorrCoef):
    """Pearson's correlation; 0 where all labels or all predictions are the same, as Spearman's is."""

    def compute(self) -> Tensor:
        return super().compute().nan_to_num(nan=0.0)


def classification_metrics(problem_type: str, label_names: list[str]) -> MetricCollection:
    """Return the metrics of held-out rows."""
    n = len(label_names)
    metrics: dict[str, Any]
    by_label: dict[str, Any]
    if problem_type == "regression":
        correlations = {"pearson": Pearson(), "spearman": SpearmanCorrCoef()}
        return MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError(), **correlations})
    if problem_type == "multi_label_classification":
        metrics = {"accuracy": tm.MultilabelExactMatch(n), "f1": tm.MultilabelF1Score(n, average="macro")}
        by_label = {"precision": tm.MultilabelPrecision, "recall": tm.MultilabelRecall}
    else:
        metrics = {
            "accuracy": tm.MulticlassAccuracy(n, average="micro"),
            "f1": tm.MulticlassF1Score(n, average="macro"),
            "matthews_corrcoef": tm.MulticlassMatthewsCorrCoef(n),
            "calibration_error": tm.MulticlassCalibrationError(n, n_bins=15, norm="l1"),
            "confusion_matrix": tm.MulticlassConfusionMatrix(n),
        }
        by_label = {"precision": tm.MulticlassPrecision, "recall": tm.MulticlassRecall}
    for name, metric in by_label.items():
        metrics[name] = metric(n, average="macro")
        metrics[f"{name}_by_label"] = ClasswiseWrapper(metric(n, average="none"), label_names, prefix=f"{name}/")
    # a compute group cannot share the state inside ClasswiseWrapper
    return MetricCollection(metrics, compute_groups=False)
