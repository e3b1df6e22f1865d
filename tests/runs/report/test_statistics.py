from math import comb

import numpy as np
import pytest

from lightune.runs.report.run_results import summarize
from lightune.runs.report.statistics import (
    Summary,
    interval,
    mcnemar,
    paired_bootstrap,
    reliability,
    resampled,
)
from lightune.tasks import TextClassification, TokenClassification


def mean(values: np.ndarray) -> Summary:
    return Summary(np.column_stack([values, np.ones(len(values))]), lambda sums: {"mean": sums[:, 0] / sums[:, 1]})


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for draw in range(200):
        low, high = interval(resampled(mean(rng.random(150) < 0.7), samples=300, seed=draw)["mean"])
        held += low <= 0.7 <= high
    assert 0.89 <= held / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_however_rows_are_drawn(monkeypatch: pytest.MonkeyPatch):
    summary = mean(np.arange(50.0))
    once = resampled(summary, samples=40)["mean"]
    monkeypatch.setattr("lightune.runs.report.statistics.DRAWN_ROWS", 100)
    assert np.array_equal(resampled(summary, samples=40)["mean"], once)


@pytest.mark.parametrize(("only_first", "only_second"), [(3, 12), (0, 5), (7, 7), (0, 0)])
def test_mcnemar_is_the_exact_binomial(only_first: int, only_second: int):
    first = np.array([True] * (10 + only_first) + [False] * only_second)
    second = np.array([True] * 10 + [False] * only_first + [True] * only_second)
    n, fewer = only_first + only_second, min(only_first, only_second)
    exact = min(1.0, 2 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n)
    assert mcnemar(first, second) == (only_first, only_second, pytest.approx(exact))


def test_paired_runs_that_differ_on_every_row_differ_for_certain():
    values = np.random.default_rng(0).random(100)
    found = paired_bootstrap(mean(values), mean(values + 0.01))["mean"]
    assert (found.value, found.low, found.high) == pytest.approx((0.01, 0.01, 0.01))
    assert found.p < 0.01
    assert paired_bootstrap(mean(values), mean(values))["mean"].p == 1


def test_calibration_of_a_case_done_by_hand():
    """Two bins of five: three rows of 0.5 with one right, one row of 0.9 that is right."""
    bins = reliability(np.array([0.5, 0.5, 0.5, 0.9]), np.array([True, False, False, True]), bins=5)
    assert bins.count.tolist() == [3, 1]
    assert bins.error == pytest.approx(3 / 4 * (0.5 - 1 / 3) + 1 / 4 * 0.1)


def test_calibration_is_what_torchmetrics_has():
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    rng = np.random.default_rng(0)
    confidence, correct = rng.random(500), rng.random(500) < 0.6
    theirs = binary_calibration_error(torch.tensor(confidence), torch.tensor(correct).int(), n_bins=15)
    assert reliability(confidence, correct).error == pytest.approx(theirs.item(), abs=1e-6)


def test_macro_f1_of_classes_and_entities_are_computed_from_counts_and_not_means_of_rows():
    rows = [
        {"loss": 1.0, "targets": 1, "true": true, "predicted": predicted, "probabilities": [0.5, 0.5, 0]}
        for true, predicted in [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0)]
    ]
    figures = summarize(TextClassification.analyse(rows, ["a", "b", "c"]), perplexity=False).of()
    assert figures["accuracy"] == pytest.approx(3 / 5)
    assert figures["f1"] == pytest.approx((4 / 6 + 2 / 4) / 2)  # the third class is neither there nor predicted
    found = [["PER", 0, 1]], [["PER", 0, 1], ["LOC", 3, 4]]
    rows = [
        {"loss": 1.0, "targets": 4, "score": 1.0, "true": true, "predicted": predicted}
        for true, predicted in [(found[0], found[0]), (found[1], []), ([], [])]
    ]
    analysis = TokenClassification.analyse(rows, [])
    assert summarize(analysis, perplexity=False).of()["f1"] == pytest.approx(2 / (1 + 3))
    assert analysis.correct().tolist() == [True, False, True]
