"""What the classification of texts and of tokens share: a head, a loss and metrics that a configuration may choose."""

from collections.abc import Callable
from typing import Any

from torchmetrics import MetricCollection

from lightune.data.preprocessors.labels import SINGLE
from lightune.models.pretrained import PretrainedModel
from lightune.tasks.base import Task
from lightune.tasks.criterion import ClassWeights, Criterion
from lightune.tasks.metrics.by_name import Metrics, named_metrics
from lightune.tuning.recipe import Recipe


class Classification(Task):
    """Fine-tune a pretrained model with a classification head.

    Args:
        pretrained: where the weights come from.
        head: ``num_labels``, ``id2label``, ``label2id``, ``balanced_weights`` and, of texts, ``problem_type``, as the data
            says; empty where the model's own configuration holds them (a finished run).
        recipe: which weights move, how fast, and after which teacher.
        criterion: another loss, or what makes it; see ``lightune.tasks.criterion``.
        class_weights: of the loss: ``balanced``, or by label.
        metrics: further ones, see ``lightune.tasks.metrics.by_name``.
        calibrate: of texts: choose a temperature and thresholds on validation, see ``lightune.training.calibrate``.
    """

    encodes_rows = True
    is_explainable = True
    takes_head = True
    fitting_models = "model=minilm, bert, roberta, deberta, modernbert, …"
    onnx_outputs = ("logits",)
    problem_type: str = SINGLE
    """transformers' name of the kind of labels."""

    calibrated: tuple[str, ...] = ()
    """The problem types whose probabilities may be calibrated."""

    classes: list[str]
    """In the order of the logits."""

    def __init__(
        self,
        *,
        pretrained: PretrainedModel,
        head: dict[str, Any],
        recipe: Recipe,
        criterion: Callable[..., Any] | None = None,
        class_weights: ClassWeights | None = None,
        metrics: Metrics | None = None,
        calibrate: bool = True,
    ) -> None:
        model: Any = pretrained.load_classifier(self.auto_class, **head)
        self.classes = [model.config.id2label[index] for index in range(model.config.num_labels)]
        own, measured = self.own_metrics(model)
        labels: dict[str, Any] = {"problem_type": self.problem_type, "label_names": self.classes}
        own.add_metrics(named_metrics(metrics, measured={*measured, "loss"}, **labels))
        super().__init__(model=model, metrics=own, recipe=recipe)
        balanced = head.get("balanced_weights")
        self.calibrate = calibrate and self.problem_type in self.calibrated
        self.criterion = Criterion(criterion, class_weights=class_weights, balanced=balanced, **labels)

    def own_metrics(self, model: Any) -> tuple[MetricCollection, set[str]]:
        """Return what the task itself measures, and the names of these figures; set what follows from the model's labels."""
        raise NotImplementedError

    def signatures(self) -> dict[str, str]:
        """Return which loss was computed, where it is another than the problem type's own."""
        return {} if self.criterion.is_default else {"loss": self.criterion.signature}
