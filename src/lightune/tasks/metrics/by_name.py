"""Further metrics of torchmetrics, or of one's own, that a configuration names."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from torchmetrics import Metric, classification, regression

from lightune.common.errors import UserError, nearest
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE

# module, the beginning of the names in it, and the argument for the number of labels
WHERE: dict[str, tuple[Any, str, str]] = {
    SINGLE: (classification, "Multiclass", "num_classes"),
    MULTI: (classification, "Multilabel", "num_labels"),
    REGRESSION: (regression, "", ""),
}
ADDED = "added_by_name"
Metrics = list[str] | dict[str, Any]


def named_metrics(
    asked: Metrics | None, *, problem_type: str, label_names: Sequence[str], measured: Collection[str]
) -> dict[str, Any]:
    """Return metrics of probabilities and labels, or of a regression's numbers, by the names of their figures.

    Args:
        asked: names such as ``auroc`` for ``MulticlassAUROC``; or by name their options, or a metric that is made.
        problem_type: transformers' name of the kind of labels.
        label_names: in the order of the probabilities.
        measured: what the task measures itself; it is left to it, without options.

    Raises:
        UserError: there is no such metric, it refuses its options, or its name is taken.
    """
    module, prefix, count = WHERE[problem_type]
    known = {
        re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.removeprefix(prefix)).lower(): kind
        for key, kind in vars(module).items()
        if key.startswith(prefix) and isinstance(kind, type)
    }
    # torchmetrics itself writes matthews_corrcoef and r2_score
    plain = {key.replace("_", ""): kind for key, kind in known.items()}
    found: dict[str, Any] = {}
    for name, options in (asked if isinstance(asked, dict) else dict.fromkeys(asked or ())).items():
        kind = plain.get(name.replace("_", "").lower())
        if name in measured and not options:
            continue
        if name in measured or not name.isidentifier():
            raise UserError(
                f"task.metrics.{name}: the name is taken, or cannot name a figure. Choose another, and say what it is:\n"
                "task.metrics={NAME: {_target_: torchmetrics.classification.MulticlassAccuracy, num_classes: 6, top_k: 2}}"
            )
        if not isinstance(options, Metric) and kind is None:
            raise UserError(f"task.metrics: there is no {name} for {problem_type}. {nearest(name, known)}")
        try:
            sizes = {count: len(label_names)} if count else {}
            found[name] = options if isinstance(options, Metric) else kind(**sizes, **options or {})  # type: ignore[misc]
        except (TypeError, ValueError) as error:
            raise UserError(f"task.metrics.{name}: {' '.join(str(error).split())[:300]}") from error
        setattr(found[name], ADDED, True)
    return found
