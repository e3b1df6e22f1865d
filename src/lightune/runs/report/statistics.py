"""How sure a figure is: bootstrap over rows, paired tests, calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

Figures = dict[str, np.ndarray]
SAMPLES = 1000
AT_ONCE = 2_000_000  # drawn rows held in memory


class Summary(NamedTuple):
    """Figures that depend on sums over rows, as accuracy, F1 and BLEU do; those are resampled without predicting again.

    Attributes:
        statistics: (rows, k), what of each row is summed.
        figures: makes of sums (samples, k) each figure (samples,).
    """

    statistics: np.ndarray
    figures: Callable[[np.ndarray], Figures]

    def of(self, rows: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """Return the figures of some rows."""
        sums = self.statistics[rows].sum(axis=0, keepdims=True)
        return {name: float(values[0]) for name, values in self.figures(sums).items()}


def resampled(summary: Summary, *, samples: int = SAMPLES, seed: int = 0) -> Figures:
    """Return each figure on ``samples`` draws of as many rows with replacement: the same draws for the same seed.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap. The figure is computed anew on each draw, which
    for macro F1, F1 of entities and BLEU is not the mean over rows.
    """
    rng = np.random.default_rng(seed)
    n = len(summary.statistics)
    sums = np.empty((samples, summary.statistics.shape[1]))
    step = max(1, AT_ONCE // n)
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
    """A figure of one run minus that of another, on the same rows."""

    value: float
    low: float
    high: float
    p: float


def paired_bootstrap(first: Summary, second: Summary, *, seed: int = 0) -> dict[str, Difference]:
    """Compare two runs on the same rows in the same order: each draw is the same for both.

    ``p`` is two-sided: twice the share of draws on the rarer side of no difference, at least 1 / (draws + 1).
    Source: Koehn (2004), Statistical Significance Tests for Machine Translation Evaluation.
    """
    ours, theirs = resampled(first, seed=seed), resampled(second, seed=seed)
    exact, other = first.of(), second.of()
    found = {}
    for name in ours.keys() & theirs.keys():
        differences = theirs[name] - ours[name]
        rarer = min((differences <= 0).sum(), (differences >= 0).sum())
        p = min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
        found[name] = Difference(other[name] - exact[name], *interval(differences), p)
    return found


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    """Return how many rows only the first run has right, only the second, and the exact two-sided p-value.

    Source: McNemar (1947); rows on which both agree say nothing, the others are a fair coin's if the runs are equal.

    Args:
        first: (rows,) of bool.
        second: likewise, of the same rows.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    disagree = only_first + only_second
    p = float(binomtest(only_first, disagree).pvalue) if disagree else 1.0
    return only_first, only_second, p


@dataclass(frozen=True)
class Reliability:
    """Bins of confidence that hold rows: mean confidence, accuracy and count of each (bins,)."""

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap, each bin weighted by its rows."""
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.count))


def reliability(confidence: np.ndarray, correct: np.ndarray, *, bins: int = 15) -> Reliability:
    """Bin rows by confidence, in ``bins`` of equal width (Guo et al., 2017, On Calibration of Modern Neural Networks).

    Args:
        confidence: (rows,) of 0 to 1.
        correct: (rows,) of bool.
        bins: over 0 to 1.
    """
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    held = count > 0
    sums = [np.bincount(which, weights=values, minlength=bins) for values in (confidence, correct)]
    return Reliability(sums[0][held] / count[held], sums[1][held] / count[held], count[held])
