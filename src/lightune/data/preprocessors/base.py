"""What each task's preprocessor does for the DataModule and for prediction."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from datasets import Dataset


class Preprocessor(Protocol):
    """Rows of a task become features, and features a batch. The defaults fit a task whose targets are texts."""

    input_columns: list[str]
    """The columns that a prediction reads."""

    prepared_inputs: Sequence[str] = ()
    """The columns of prepared rows that tell whether two rows have the same input; empty: all but ``labels``."""

    @property
    def head(self) -> dict[str, Any]:
        """The configuration that the data asks of the model's head; known after ``fit``."""
        return {}

    def fit(self, train: Dataset) -> None:
        """Learn from the training rows what the head must be."""
        return

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Return checked rows, one for each example, with the columns that the other methods read.

        Raises:
            UserError: a column or a value is missing or malformed; names the split and the row.
        """

    def strata(self, prepared: Dataset) -> Sequence[int] | None:
        """Return the class of each row for stratified splits; None if a row does not have exactly one."""
        return None

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize prepared rows without padding; ``length`` is the number of tokens of each.

        In training a row may become several (windows of a long text). Otherwise it stays one, and holds what
        metrics and predictions need, so that an example is measured as a whole on one device.
        """

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Make a batch of tokenized rows, padded to the longest, or to one of few widths.

        Returns:
            ``input_ids`` and the model's other inputs (batch, length), ``labels``, and for held-out rows ``rows``:
            a dictionary a row.
        """


def encode(preprocessor: Preprocessor, columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Return the features of rows of ``input_columns``; raise a UserError for one that the task cannot read."""
    prepared = preprocessor.prepare(Dataset.from_dict(dict(columns)), split="predict", labelled=False)
    features = preprocessor(prepared[:], training=False)
    return [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]
