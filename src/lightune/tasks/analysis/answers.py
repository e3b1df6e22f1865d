"""Test rows with extracted answers."""

from collections import Counter

import numpy as np

from lightune.common.html_blocks import Block, Table
from lightune.tasks.analysis.base import RowAnalysis
from lightune.tasks.batch import RowResult


class Answers(RowAnalysis):
    """Rows with ``exact_match``, ``f1``, a kind of ``error`` and a ``score``."""

    judged_by = ("f1",)
    surest_errors = "Wrong, and most sure of it"

    def statistics(self) -> np.ndarray:
        return np.column_stack([np.ones(len(self.rows)), self.column("exact_match"), self.column("f1")])

    def figures(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        return {"exact_match": sums[:, 1] / sums[:, 0], "f1": sums[:, 2] / sums[:, 0]}

    def correct(self) -> np.ndarray:
        return np.array([row["exact_match"] == 1 for row in self.rows])

    def describe(self, row: RowResult) -> str:
        return f"{row['error']} · F1 {row['f1']:.2f} · score {row['score']:.2f}"

    def sureness(self, row: RowResult) -> float:
        return float(row["score"])

    margin = sureness

    def details(self) -> list[Block]:
        errors, f1 = self.column("error"), self.column("f1")
        rows = [
            [name, f"{count:,}", f"{count / len(errors):.1%}", f"{f1[errors == name].mean():.3f}"]
            for name, count in Counter(errors.tolist()).most_common()
        ]
        return [Table(["answer", "rows", "share", "mean F1"], rows)]
