"""The figures of a run's test rows as sums over rows, which are resampled without predicting again."""

import numpy as np

from lightune.runs.report.statistics import Figures, Summary
from lightune.tasks.analysis.base import RowAnalysis, ratio


def summarize(analysis: RowAnalysis, *, perplexity: bool) -> Summary:
    """Return the loss and the figures of a task, named as in ``metrics.json`` after ``test/``."""
    targets = analysis.column("targets").astype(float)
    statistics = np.column_stack([analysis.column("loss") * targets, targets, analysis.statistics()])

    def figures(sums: np.ndarray) -> Figures:
        loss = ratio(sums[:, 0], sums[:, 1])
        return {"loss": loss} | ({"perplexity": np.exp(loss)} if perplexity else {}) | analysis.figures(sums[:, 2:])

    return Summary(statistics, figures)
