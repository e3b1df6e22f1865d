"""What each task's preprocessor does for the DataModule and for prediction."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from datasets import Dataset


class Preprocessor(Protocol):
    """Rows of a task become features, and features a batch."""

    input_columns: list[str]
    """What a prediction reads of a row."""

    @property
    def head(self) -> dict[str, Any]:
        """What the data says of the model's head; known after :meth:`fit`."""

    def fit(self, train: Dataset) -> None:
        """Learn from the training rows what the head must be."""

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Return checked rows, one an example, with the columns that the rest reads."""

    def strata(self, prepared: Dataset) -> Sequence[int] | None:
        """Return the class of each row where rows have one, for stratified splits."""

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize prepared rows; ``length`` says how long each is.

        In training a row may become several (windows of a long text). Otherwise it stays one, and holds what
        metrics and predictions need, so that an example is measured whole on one device.
        """

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Make a batch of such rows, as wide as the longest, or as :func:`lightune.data.batches.padding.width` says."""


def encode(preprocessor: Preprocessor, columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Return the features of rows to predict for, which lie in no file.

    Args:
        preprocessor: of the run that predicts.
        columns: what ``input_columns`` names, a value a row.

    Raises:
        UserError: a row is none that the task can read.
    """
    prepared = preprocessor.prepare(Dataset.from_dict(dict(columns)), split="predict", labelled=False)
    features = preprocessor(prepared[:], training=False)
    return [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]
