"""What is chosen on validation: a temperature for the probabilities, and a threshold for each of several labels."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp, softmax

# in place of 0, which has no logarithm
SMALLEST = 1e-30
# standard deviation of log T before any row is seen
PRIOR_DEVIATION = 0.5
# rows with a label, as all labels together have them, that are added to those of each
PRIOR_POSITIVES = 10
# evenly spaced in logits
CANDIDATES = expit(np.linspace(-5, 5, 101)).round(4)


def fit_temperature(probabilities: np.ndarray, true: np.ndarray) -> float:
    """Return the temperature T that makes the ``true`` classes (rows,) likeliest, where logits are divided by T.

    ``probabilities`` are (rows, classes). A normal prior of log T keeps a few rows that are all right from making it 0.
    Source: Guo et al. (2017), On Calibration of Modern Neural Networks.
    """
    logits, rows = np.log(np.clip(probabilities, SMALLEST, 1)), np.arange(len(true))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        log_likelihood = (scaled[rows, true] - logsumexp(scaled, axis=1)).sum()
        return float((log_temperature / PRIOR_DEVIATION) ** 2 / 2 - log_likelihood)

    return round(float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)), 4)


def rescale(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities (rows, classes) of logits that are divided by a temperature."""
    scaled: np.ndarray = softmax(np.log(np.clip(probabilities, SMALLEST, 1)) / temperature, axis=1)
    return scaled


def fit_thresholds(probabilities: np.ndarray, true: np.ndarray) -> list[float]:
    """Return for each label the threshold with the highest F1, of equal ones the nearest to 0.5.

    Both are (rows, labels). The rarer a label, the more its F1 is that of all labels at one threshold: the best threshold
    on few rows is chance.
    """
    columns = zip(probabilities.T, true.T > 0, strict=True)
    above = [[(p[:, None] > CANDIDATES).sum(axis=0) for p in (of[has_it], of)] for of, has_it in columns]
    counts = [*np.array(above).swapaxes(0, 1), true.sum(axis=0)[:, None]]
    share = PRIOR_POSITIVES / max(1, true.sum())
    hits, predicted, positives = (count + share * count.sum(axis=0) for count in counts)
    f1 = 2 * hits / np.maximum(predicted + positives, 1)
    is_best = f1 >= f1.max(axis=1, keepdims=True) - 1e-9
    return [float(CANDIDATES[index]) for index in np.where(is_best, abs(CANDIDATES - 0.5), 1).argmin(axis=1)]
