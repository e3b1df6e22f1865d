"""Confident learning finds flipped labels, and does not take a hard class for a mislabelled one."""

import numpy as np

from lightune.runs.audit.rows import find_label_issues


def test_flipped_labels_are_found_and_stand_first():
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=2000)
    logits = rng.normal(size=(2000, 4)) + 4 * np.eye(4)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = rng.choice(2000, size=100, replace=False)
    labels = true.copy()
    labels[flipped] = (true[flipped] + rng.integers(1, 4, size=100)) % 4
    found = find_label_issues(labels, probabilities)
    issues = np.flatnonzero(found["is_issue"])
    assert np.isin(issues, flipped).mean() > 0.9
    assert np.isin(flipped, issues).mean() > 0.7
    worst = found.sort_values("score").index[:100]
    assert np.isin(worst, flipped).mean() > 0.9
    assert (found["suggested"][flipped] == true[flipped]).mean() > 0.9


def test_a_class_that_the_model_is_always_unsure_of_is_not_mislabelled():
    sure, unsure, wrong = [0.95, 0.05], [0.6, 0.4], [0.97, 0.03]
    found = find_label_issues(np.array([0] * 9 + [1] * 10), np.array([sure] * 9 + [unsure] * 9 + [wrong]))
    assert found["is_issue"].tolist() == [False] * 18 + [True]
    assert found["score"][18] < 0.2 and found["score"][:18].min() > 0.9


def test_rows_without_a_prediction_are_no_issues_and_labels_without_rows_do_no_harm():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [np.nan] * 3, [0.9, 0.1, 0.0]])
    found = find_label_issues(np.array([0, 1, 1, 1]), probabilities)
    assert found["is_issue"].tolist() == [False, False, False, True]
    assert found["score"].isna().tolist() == [False, False, True, False]
