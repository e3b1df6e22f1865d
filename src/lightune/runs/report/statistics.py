"""The uncertainty of figures: bootstrap over rows, paired tests, calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

Figures = dict[str, np.ndarray]
SAMPLES = 1000
# rows that are drawn, and held in memory, at a time
DRAWN_ROWS = 2_000_000


class Summary(NamedTuple):
    """Figures computed from sums over rows, such as accuracy, F1 and BLEU; new draws of rows need no new predictions.

    ``statistics`` (rows, k) are the terms; ``figures`` computes each figure (samples,) from the sums (samples, k).
    """

    statistics: np.ndarray
    figures: Callable[[np.ndarray], Figures]

    def of(self, rows: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """Return the figures of some rows."""
        sums = self.statistics[rows].sum(axis=0, keepdims=True)
        return {name: float(values[0]) for name, values in self.figures(sums).items()}


def resampled(summary: Summary, *, samples: int = SAMPLES, seed: int = 0) -> Figures:
    """Return each figure on ``samples`` draws of all rows with replacement; the same seed gives the same draws.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap. Each draw computes the figure anew: macro F1,
    entity F1 and BLEU are not means over rows.
    """
    rng = np.random.default_rng(seed)
    n = len(summary.statistics)
    sums = np.empty((samples, summary.statistics.shape[1]))
    step = max(1, DRAWN_ROWS // n)
    for start in range(0, samples, step):
        size = min(step, samples - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        sums[start : start + size] = counts @ summary.statistics
    return summary.figures(sums)


def interval(values: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled figures."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


class Difference(NamedTuple):
    """A figure of the second run minus that of the first, its 95 % interval and its p-value."""

    value: float
    low: float
    high: float
    p: float


def paired_bootstrap(first: Summary, second: Summary, *, seed: int = 0) -> dict[str, Difference]:
    """Compare two runs on the same rows in the same order; both use the same draws.

    ``p`` is two-sided: twice the share of draws on the rarer side of no difference, at least 1 / (draws + 1).
    Source: Koehn (2004), Statistical Significance Tests for Machine Translation Evaluation.
    """
    first_draws, second_draws = resampled(first, seed=seed), resampled(second, seed=seed)
    first_exact, second_exact = first.of(), second.of()
    result = {}
    for name in first_draws.keys() & second_draws.keys():
        differences = second_draws[name] - first_draws[name]
        rarer = min((differences <= 0).sum(), (differences >= 0).sum())
        p = min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
        result[name] = Difference(second_exact[name] - first_exact[name], *interval(differences), p)
    return result


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    """Return how many rows only the first run has right, how many only the second, and the exact two-sided p-value.

    Both are (rows,) of bool. Rows on which they agree do not count; the others are fair coin flips if the runs are
    equal. Source: McNemar (1947).
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    disagree = only_first + only_second
    p = float(binomtest(only_first, disagree).pvalue) if disagree else 1.0
    return only_first, only_second, p


@dataclass(frozen=True)
class Reliability:
    """The mean confidence, accuracy and count of each bin of confidence that holds rows (bins,)."""

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap, each bin weighted by its rows."""
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.count))


def reliability(confidence: np.ndarray, correct: np.ndarray, *, bins: int = 15) -> Reliability:
    """Bin rows by confidence (rows,), in bins of equal width from 0 to 1; ``correct`` is (rows,) of bool.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks.
    """
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    filled = count > 0
    sums = [np.bincount(which, weights=values, minlength=bins) for values in (confidence, correct)]
    return Reliability(sums[0][filled] / count[filled], sums[1][filled] / count[filled], count[filled])
