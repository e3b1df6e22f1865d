import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import f1_score

from lightune.tasks.calibration import fit_temperature, fit_thresholds, rescale

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_is_found_again(temperature: float):
    logits = RNG.normal(0, 2, (4000, 3))
    true = np.array([RNG.choice(3, p=p) for p in softmax(logits, axis=1)])
    probabilities = softmax(logits * temperature, axis=1)
    found = fit_temperature(probabilities, true)
    assert found == pytest.approx(temperature, rel=0.1)
    assert found == fit_temperature(probabilities, true)
    assert rescale(probabilities, temperature) == pytest.approx(softmax(logits, axis=1), abs=1e-6)


def test_few_rows_that_are_all_right_do_not_make_a_model_sure_of_itself():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    assert 0.4 < fit_temperature(probabilities, np.array([0, 1, 0])) < 1
    assert 1 < fit_temperature(probabilities, np.array([1, 0, 1])) < 3


def labelled(rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of which some are rare: few rows of these reach one half."""
    rng = np.random.default_rng(seed)
    logits = rng.normal([0, -2, -3, -4], [2, 2, 1.5, 1.5], (rows, 4))
    return expit(logits), (rng.random(logits.shape) < expit(logits)).astype(int)


def test_thresholds_raise_macro_f1_on_other_rows():
    thresholds = fit_thresholds(*labelled(500, seed=1))
    probabilities, true = labelled(5000, seed=2)
    better, half = (f1_score(true, probabilities > limit, average="macro") for limit in (thresholds, 0.5))
    assert better > half + 0.05


def test_a_label_of_hardly_any_rows_has_the_threshold_of_all():
    probabilities, true = labelled(500, seed=1)
    pooled = fit_thresholds(probabilities.reshape(-1, 1), true.reshape(-1, 1))[0]
    # the only row that has it is of a probability that says nothing
    lonely = np.zeros((500, 1), dtype=int)
    lonely[17] = 1
    rare = np.full((500, 1), 0.001)
    rare[17] = 0.9
    found = fit_thresholds(np.hstack([probabilities, rare]), np.hstack([true, lonely]))[-1]
    assert found == pytest.approx(pooled, abs=0.1)


def test_without_a_label_a_threshold_is_one_half():
    assert fit_thresholds(np.full((5, 2), 0.2), np.zeros((5, 2), dtype=int)) == [0.5, 0.5]
