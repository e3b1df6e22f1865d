"""Test rows with entities."""

from collections import Counter

import numpy as np

from lightune.common.html_blocks import Block, Table
from lightune.tasks.analysis.base import RowAnalysis, precision_recall_f1, table_by_name
from lightune.tasks.batch import RowResult

Entity = tuple[str, int, int]


class Entities(RowAnalysis):
    """Rows whose ``true`` and ``predicted`` are entities: type, first word, word after the last."""

    judged_by = ("f1",)

    def statistics(self) -> np.ndarray:
        return sum(self._counts().values(), np.zeros((len(self.rows), 3)))

    def figures(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        return precision_recall_f1(*sums.T)

    def describe(self, row: RowResult) -> str:
        true, predicted = _entities(row)
        missed, extra = (
            ", ".join(f"{kind} {start + 1}–{end}" for kind, start, end in sorted(entities))
            for entities in (true - predicted, predicted - true)
        )
        return f"missed (words): {missed or 'nothing'} · too much: {extra or 'nothing'}"

    def margin(self, row: RowResult) -> float:
        return float(row["score"])

    def details(self) -> list[Block]:
        counts = self._counts()
        hits, predicted, true = np.array([rows.sum(axis=0) for rows in counts.values()]).reshape(-1, 3).T
        errors: Counter[str] = Counter()
        for row in self.rows:
            errors.update(_errors(*_entities(row)))
        rows = [[name, f"{count:,}"] for name, count in errors.most_common()]
        return [table_by_name(list(counts), hits, predicted, true), Table(["kind of error", "entities"], rows)]

    def _counts(self) -> dict[str, np.ndarray]:
        """Return for each type the entities that are right, predicted and true, by row (rows, 3)."""
        types = sorted({kind for row in self.rows for entities in _entities(row) for kind, *_ in entities})
        counts = {kind: np.zeros((len(self.rows), 3)) for kind in types}
        for index, row in enumerate(self.rows):
            true, predicted = _entities(row)
            for column, entities in enumerate((true & predicted, predicted, true)):
                for kind, *_ in entities:
                    counts[kind][index, column] += 1
        return counts


def _entities(row: RowResult) -> tuple[set[Entity], set[Entity]]:
    """Return the true and the predicted entities."""
    true, predicted = ({tuple(entity) for entity in row[name]} for name in ("true", "predicted"))
    return true, predicted


def _errors(true: set[Entity], predicted: set[Entity]) -> list[str]:
    """Return the kind of each error of a row."""
    spans = {(start, end) for _, start, end in true}
    errors = []
    for _, start, end in predicted - true:
        if (start, end) in spans:
            errors.append("right words, another type")
        elif any(first < end and start < last for first, last in spans):
            errors.append("words overlap, but are not the same")
        else:
            errors.append("there is no entity")
    for _, start, end in true:
        if not any(first < end and start < last for _, first, last in predicted):
            errors.append("missed: nothing predicted there")
    return errors
