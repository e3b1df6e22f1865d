"""What a task is: its loss and metrics, and all that other parts of the project need to know of it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel

from lightune.models.pretrained import PretrainedModel
from lightune.tasks.analysis.base import RowAnalysis
from lightune.tasks.batch import Batch, RowResult
from lightune.tasks.explanation_target import Span, Target
from lightune.tasks.export_usage import Usage
from lightune.tasks.training_loop import TrainingLoop


class Task(TrainingLoop):
    """A pretrained model under fine-tuning.

    A subclass gives ``update``, ``predict_step`` and its metrics, and ``loss`` if it is not cross-entropy. Everything else has a default, which means
    that the task does not do it.

    The constructor of a subclass takes ``pretrained`` (loads the weights), ``head`` (what the data says of the model's
    head; empty if the model's own configuration holds it, as in a finished run), ``recipe``, and options of its own.
    """

    monitor: tuple[str, str] = ("val/loss", "min")
    """The metric that chooses the best checkpoint, and ``min`` or ``max``."""

    is_explainable: bool = False
    """Whether ``explained`` says what to attribute to words; the preprocessor then has ``locate_tokens``."""

    pipeline_tag: str | None = None
    """The Hub's name of the task, such as ``text-classification``."""

    auto_class: Any = None
    """How transformers loads the model, such as ``AutoModelForTokenClassification``; None: the model is one of its own."""

    fitting_models: str = ""
    """Models that can do the task, for the message that refuses another."""

    bidirectional: bool = False
    """Whether the model must see what comes after a token."""

    takes_head: bool = False
    """Whether the model may have a head of one's own, ``task.head``: see ``PretrainedModel.load_classifier``."""

    onnx_outputs: tuple[str, ...] = ()
    """The model's outputs in an ONNX graph, in the order of the logits' last dimension; empty: no graph of it is made."""

    predict_arguments: str = '--text "…"'
    """The arguments that ``lightune predict RUN`` needs."""

    calibrate: bool = False
    """Whether ``lightune.training.calibrate`` may change the best checkpoint, where rows have ``probabilities``."""

    label_names: tuple[str, ...] | list[str] = ()
    """The labels that have a precision and a recall of their own."""

    analysis: type[RowAnalysis] = RowAnalysis
    """How a report reads ``row_results``."""

    @classmethod
    def check(cls, pretrained: PretrainedModel) -> None:
        """Check a model's configuration, before its weights and the data are loaded.

        Raises:
            UserError: the model cannot do this task; names models that can.
        """
        if cls.auto_class is not None:
            auto_class = AutoModel if cls.takes_head and pretrained.head_for(cls.auto_class) else cls.auto_class
            pretrained.check(auto_class, choose=cls.fitting_models, bidirectional=cls.bidirectional)

    def row_losses(
        self, logits: Tensor | Sequence[Tensor], batch: Batch, sizes: list[int] | None = None
    ) -> list[RowResult]:
        """Return ``loss`` and ``targets`` of each row: the task's own loss of the row alone, and what it is the mean of.

        ``logits`` are of the batch of held-out rows, or of each; ``sizes`` are the samples of each row, such as
        the windows of a long text, None: one each.
        """
        sizes = sizes or [1] * len(logits)
        columns = [
            torch.split(values, sizes) if isinstance(values, Tensor) else [[value] for value in values]
            for values in batch.values()
        ]
        of_rows = torch.split(logits, sizes) if isinstance(logits, Tensor) else logits
        losses, counts = [], []
        for of_row, *values in zip(of_rows, *columns, strict=True):
            loss, count = self.loss(of_row, dict(zip(batch, values, strict=True)))
            losses.append(loss)
            counts.append(torch.as_tensor(count))
        # read at once: a GPU would have to finish each row before the next
        found = zip(torch.stack(losses).tolist(), torch.stack(counts).tolist(), strict=True)
        return [{"loss": loss, "targets": count} for loss, count in found]

    @classmethod
    def analyse(cls, rows: list[RowResult], label_names: Sequence[str]) -> RowAnalysis:
        """Return what a report says of the results of a test; rows are empty where there are none."""
        return cls.analysis(rows, label_names)

    def explained(self, logits: Tensor, batch: Batch, *, label: str | None) -> list[Target]:
        """Return the outputs of a row that ``lightune explain`` explains.

        ``logits`` are of all windows of the row, which is alone in the batch; ``label`` None: what is predicted.

        Raises:
            UserError: there is no such label.
        """
        raise NotImplementedError

    def explained_scores(self, inputs: Batch) -> Tensor:
        """Return the scores that targets are cells of, (windows, …, alternatives), or (rows, …) where ``inputs`` has ``num_windows``."""
        scores: Tensor = self(inputs).float()
        return scores

    def explained_texts(self, texts: Sequence[Any], batch: Batch) -> list[tuple[str, list[Span] | None]]:
        """Return a row's texts as the model reads them, each with the places of its words; None: split it."""
        return [(text, None) for text in texts]

    def usage(self, preprocessor: Any, *, tensors: str) -> Usage | None:
        """Return how the exported model is used, for its card, with ``tensors`` ``pt`` or ``np``; None: it shows no code."""
        return None

    def confusion_matrix(self) -> list[list[int]] | None:
        """Return the counts of the last test, rows true and columns predicted, where rows have one label each."""
        return None

    def signatures(self) -> dict[str, str]:
        """Return how metrics were computed, for those that can be computed in several ways."""
        return {}
