"""What a report says of a task's test rows: figures with intervals, rows to look at, what errors are made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightune.common.html_blocks import Block, Table
from lightune.tasks.batch import RowResult

SHOWN = 8  # rows under a heading
LABELS_SHOWN = 50  # with figures of their own


class RowAnalysis:
    """The row results of a test, analysed; a kind of result that a report can say more of has its own subclass.

    Args:
        rows: as the task's ``row_results`` returns them; empty where the task has none.
        label_names: of the head, in the order of their indices.
    """

    judged_by: tuple[str, ...] = ()
    """The figures that a run is judged by, the first that was measured; else the loss."""

    lower_is_better = frozenset({"loss", "perplexity", "mse", "mae"})

    title = "Rows to look at"
    """The heading of ``groups``."""

    surest_errors = "Wrong, with the highest loss"
    """The heading of wrong rows in the order of ``sureness``."""

    def __init__(self, rows: list[RowResult], label_names: Sequence[str]) -> None:
        self.rows = rows
        self.label_names = label_names

    def column(self, name: str) -> Any:
        """Return a value of every row, an array (rows, …)."""
        return np.array([row[name] for row in self.rows])

    def statistics(self) -> np.ndarray:
        """Return the numbers of each row whose sums ``figures`` needs, (rows, k)."""
        return np.empty((len(self.rows), 0))

    def figures(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Return figures (samples,), named as in ``metrics.json`` after ``test/``, of sums of statistics (samples, k)."""
        return {}

    def correct(self) -> np.ndarray | None:
        """Return whether each row is right, (rows,); None where rows are not right or wrong."""
        if not self.rows or not self.rows[0].keys() >= {"true", "predicted"}:
            return None
        return np.array([row["true"] == row["predicted"] for row in self.rows])

    def confidence(self) -> np.ndarray | None:
        """Return the probability that a row's prediction is right, (rows,); None where there is none to calibrate."""
        return None

    def describe(self, row: RowResult) -> str:
        """Return a row's label and its prediction in a few words."""
        return f"is {row['true']}, predicted {row['predicted']}" if {"true", "predicted"} <= row.keys() else ""

    def sureness(self, row: RowResult) -> float:
        """Return how sure of itself a wrong prediction is."""
        return float(row["loss"])

    def margin(self, row: RowResult) -> float:
        """Return how far a prediction is from being another one."""
        return -float(row["loss"])

    def wrong(self) -> list[RowResult]:
        """Return the rows that are wrong, those first that are most sure of it."""
        correct = self.correct()
        rows = [] if correct is None else [self.rows[index] for index in np.flatnonzero(~correct)]
        return sorted(rows, key=lambda row: -self.sureness(row))

    def groups(self) -> list[tuple[str, list[RowResult]]]:
        """Return the rows to look at, each group under its heading."""
        if self.correct() is None:
            return [("Highest loss:", sorted(self.rows, key=lambda row: -row["loss"])[:SHOWN])]
        wrong = self.wrong()
        heading = f"{self.surest_errors} ({len(wrong):,} of {len(self.rows):,} rows are wrong):"
        unsure = sorted(self.rows, key=self.margin)[:SHOWN]
        return [(heading, wrong[:SHOWN]), ("Least sure, right or wrong:", unsure)]

    def details(self) -> list[Block]:
        """Return blocks that show what errors are made of."""
        return []


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return a quotient, 0 where there is nothing to divide by."""
    result: np.ndarray = np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)
    return result


def precision_recall_f1(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """Return the figures of counts of any shape."""
    return {"precision": ratio(hits, predicted), "recall": ratio(hits, true), "f1": ratio(2 * hits, predicted + true)}


def table_by_name(names: Sequence[str], hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> Table:
    """Return the figures of each label, by counts (labels,); of too many those of ``LABELS_SHOWN`` with the lowest F1."""
    columns = np.column_stack([*precision_recall_f1(hits, predicted, true).values()])
    order, caption = [*range(len(names))], "One by one"
    if len(names) > LABELS_SHOWN:
        # labels that the test lacks come last: of them nothing is known
        order = np.lexsort((columns[:, 2], true == 0))[:LABELS_SHOWN].tolist()
        caption = f"The {LABELS_SHOWN} of {len(names):,} labels with the lowest F1; metrics.json has all"
    rows = [
        [names[i], *(f"{figure:.4f}" for figure in columns[i]), f"{int(true[i]):,}", f"{int(predicted[i]):,}"]
        for i in order
    ]
    header = ["", "precision", "recall", "F1", "in test", "predicted"]
    return Table(header, rows, folded=len(rows) > 40, caption=caption)
