"""Test rows with generated texts."""

from itertools import pairwise

import numpy as np

from lightune.tasks.analysis.base import RowAnalysis
from lightune.tasks.batch import RowResult
from lightune.tasks.metrics.generation import ROUGE
from lightune.tasks.metrics.sacrebleu_counts import corpus_score, make_scorer

SHOWN = 3  # texts under a heading


class Texts(RowAnalysis):
    """Rows with ``counts`` for each metric: sacrebleu's, or ROUGE's F-measures."""

    judged_by = ("rougeL", "bleu", "chrf")
    title = "Generated texts"

    def statistics(self) -> np.ndarray:
        rows = [[1, *(c for counts in row["counts"].values() for c in counts)] for row in self.rows]
        return np.array(rows, dtype=float)

    def figures(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Return the scores of each metric with counts; those that compare texts with each other have none."""
        sizes = [len(counts) for counts in self.rows[0]["counts"].values()]
        bounds = np.cumsum([1, *sizes])
        figures: dict[str, np.ndarray] = {}
        for name, (start, end) in zip(self.rows[0]["counts"], pairwise(bounds), strict=True):
            counts = sums[:, start:end]
            if name == "rouge":
                figures |= dict(zip(ROUGE.names, (counts / sums[:, :1]).T, strict=True))
            else:
                scorer = make_scorer(name)
                whole = np.rint(counts).astype(int).tolist()
                figures[name] = np.array([corpus_score(scorer, row) for row in whole])
        return figures

    def correct(self) -> None:
        """Return None: a text is better or worse, not right or wrong."""

    def describe(self, row: RowResult) -> str:
        return " · ".join(f"{name} {value:.3f}" for name, value in _scores(row).items())

    def groups(self) -> list[tuple[str, list[RowResult]]]:
        ordered = sorted(self.rows, key=_quality)
        middle = len(ordered) // 2
        return [
            ("Best:", ordered[::-1][:SHOWN]),
            ("In the middle:", ordered[middle : middle + SHOWN]),
            ("Worst:", ordered[:SHOWN]),
        ]


def _scores(row: RowResult) -> dict[str, float]:
    """Return the scores of one text by itself."""
    scores = {}
    for name, counts in row["counts"].items():
        if name == "rouge":
            scores["ROUGE-L"] = counts[2]
        elif name == "chrf":
            scores["chrF"] = corpus_score(make_scorer("chrf"), counts)
        else:  # one text has seldom four words in a row right: its BLEU is smoothed
            scores["BLEU"] = corpus_score(make_scorer("bleu", effective_order=True), counts)
    return scores


def _quality(row: RowResult) -> float:
    scores = _scores(row)
    return next((scores[name] for name in ("chrF", "ROUGE-L", "BLEU") if name in scores), -row["loss"])
