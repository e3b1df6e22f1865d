"""Test rows with one label, with several labels at once, or with a number."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightune.common.html_blocks import Block, Matrix, Scatter, Table
from lightune.tasks.analysis.base import RowAnalysis, precision_recall_f1, ratio, table_by_name
from lightune.tasks.batch import RowResult

MOST_LABELS = 20  # of a confusion matrix that is shown, and of one whose every cell is resampled


class OneLabel(RowAnalysis):
    """Rows whose ``true`` and ``predicted`` are indices of labels."""

    judged_by = ("accuracy",)
    surest_errors = "Wrong, and most sure of it"

    def statistics(self) -> np.ndarray:
        true, predicted = self.column("true"), self.column("predicted")
        n = len(self.rows[0]["probabilities"])
        eye: Any = np.eye(n if n > MOST_LABELS else n * n)
        if n > MOST_LABELS:
            return np.hstack([eye[true] * (true == predicted)[:, None], eye[predicted], eye[true]])
        cells: np.ndarray = eye[true * n + predicted]
        return cells

    def figures(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        n = len(self.rows[0]["probabilities"])
        if n > MOST_LABELS:
            return _by_class(*np.split(sums, 3, axis=1))
        matrix = sums.reshape(-1, n, n)
        hits, true, predicted = np.einsum("sii->si", matrix), matrix.sum(axis=2), matrix.sum(axis=1)
        total, correct = sums.sum(axis=1), hits.sum(axis=1)
        # Matthews' correlation of several classes (Gorodkin, 2004)
        covariance = correct * total - (true * predicted).sum(axis=1)
        spread = (total**2 - (predicted**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
        return _by_class(hits, predicted, true) | {"matthews_corrcoef": ratio(covariance, np.sqrt(spread))}

    def confidence(self) -> np.ndarray:
        return np.array([max(row["probabilities"]) for row in self.rows])

    def describe(self, row: RowResult) -> str:
        probability = row["probabilities"][row["predicted"]]
        names = self.label_names
        return f"is {names[row['true']]}, predicted {names[row['predicted']]} ({probability:.3f})"

    def sureness(self, row: RowResult) -> float:
        return float(max(row["probabilities"]))

    def margin(self, row: RowResult) -> float:
        first, second = sorted(row["probabilities"], reverse=True)[:2]
        return float(first - second)

    def details(self) -> list[Block]:
        names = self.label_names
        matrix = np.zeros((len(names), len(names)), dtype=int)
        np.add.at(matrix, (self.column("true"), self.column("predicted")), 1)
        hits, true, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
        by_name = table_by_name(names, hits, predicted, true)
        if len(names) <= MOST_LABELS:
            return [Matrix(names, matrix.tolist()), by_name]
        return [_mistaken(names, matrix - np.diag(hits), true), by_name]


class SeveralLabels(RowAnalysis):
    """Rows whose ``true`` and ``predicted`` are lists of 0 and 1, one for each label."""

    judged_by = ("f1",)

    def statistics(self) -> np.ndarray:
        true, predicted = self.column("true"), self.column("predicted")
        exact = (true == predicted).all(axis=1)
        return np.column_stack([exact, np.ones(len(true)), true * predicted, predicted, true])

    def figures(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        counts = np.split(sums[:, 2:], 3, axis=1)
        macro = {name: values.mean(axis=1) for name, values in precision_recall_f1(*counts).items()}
        return {"accuracy": sums[:, 0] / sums[:, 1]} | macro

    def describe(self, row: RowResult) -> str:
        named = (
            ", ".join(name for name, has_it in zip(self.label_names, row[key], strict=True) if has_it)
            for key in ("true", "predicted")
        )
        return "is {}, predicted {}".format(*(names or "nothing" for names in named))

    def margin(self, row: RowResult) -> float:
        return float(min(abs(p - 0.5) for p in row["probabilities"]))

    def details(self) -> list[Block]:
        # of floats a matrix product is fast
        names, true, predicted = self.label_names, *(self.column(name).astype(float) for name in ("true", "predicted"))
        sums = (true * predicted).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0)
        instead = (true * (1 - predicted)).T @ (predicted * (1 - true))
        in_test, found = (np.triu(has.T @ has, 1) for has in (true, predicted))
        pairs = [(i, j) for _, i, j in _largest(np.maximum(in_test, found))]
        rows = [[f"{names[i]}, {names[j]}", f"{in_test[i, j]:,.0f}", f"{found[i, j]:,.0f}"] for i, j in pairs]
        together = Table(["both in a row", "in test", "predicted"], rows, caption="What occurs together most often")
        tables = _mistaken(names, instead, sums[2]), together
        return [*(table for table in tables if table.rows), table_by_name(names, *sums)]


class Number(RowAnalysis):
    """Rows whose ``true`` and ``predicted`` are numbers."""

    judged_by = ("mse",)

    def statistics(self) -> np.ndarray:
        true, predicted = self.column("true").astype(float), self.column("predicted").astype(float)
        error = predicted - true
        x, y = true - true.mean(), predicted - predicted.mean()
        return np.column_stack([np.ones(len(true)), error**2, abs(error), x, y, x * x, y * y, x * y])

    def figures(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        n, square, absolute, sx, sy, sxx, syy, sxy = sums.T
        spread = np.sqrt(np.maximum((n * sxx - sx**2) * (n * syy - sy**2), 0))
        return {"mse": square / n, "mae": absolute / n, "pearson": ratio(n * sxy - sx * sy, spread)}

    def correct(self) -> None:
        """Return None: a number is near or far, not right or wrong."""

    def describe(self, row: RowResult) -> str:
        return f"is {row['true']:.4g}, predicted {row['predicted']:.4g}"

    def groups(self) -> list[tuple[str, list[RowResult]]]:
        return [("Furthest from their label:", rows) for _, rows in super().groups()]

    def details(self) -> list[Block]:
        return [Scatter("test rows", self.column("true"), self.column("predicted"), x="true", y="predicted")]


def _largest(counts: np.ndarray) -> list[tuple[float, int, int]]:
    """Return the largest counts above 0, at most ``MOST_LABELS``, each with its row and column."""
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_LABELS]
    return [(counts.flat[i], *divmod(int(i), counts.shape[1])) for i in order if counts.flat[i]]


def _mistaken(names: Sequence[str], counts: np.ndarray, true: np.ndarray) -> Table:
    """Tabulate how often a label, down, was missing while a wrong one, across, was predicted; ``true`` are its rows."""
    rows = [[names[i], names[j], f"{n:,.0f}", f"{n / true[i]:.1%}"] for n, i, j in _largest(counts)]
    return Table(["is", "predicted instead", "rows", "of its rows"], rows, caption="What is mistaken most often")


def _by_class(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy, and means over the classes that a row has or is taken for; counts (samples, classes)."""
    weights = (predicted + true > 0).astype(float)
    macro = {
        name: (values * weights).sum(axis=1) / weights.sum(axis=1)
        for name, values in precision_recall_f1(hits, predicted, true).items()
    }
    return {"accuracy": hits.sum(axis=1) / true.sum(axis=1)} | macro
