"""Labels that look wrong, by confident learning."""

import numpy as np
import pandas as pd


def find_label_issues(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Compare labels (rows,) with the probabilities (rows, labels) of models that did not train on these rows.

    A row counts for a label where its probability reaches the mean of the rows that bear the label. A label looks wrong
    where a row counts for others, and the most probable of those it counts for is not its own: the off-diagonal of the
    confident joint. Source: Northcutt, Jiang and Chuang (2021), Confident Learning.

    Returns:
        for each row ``is_issue``, ``suggested``: the most probable other label, the probabilities ``p_label`` and
        ``p_suggested``, and ``score``: ``p_label`` by its mean over the rows that bear the label; the lower, the more
        wrong the label looks. Rows whose probabilities are NaN are no issues, and their score is NaN.
    """
    rows = np.arange(len(labels))
    given = probabilities[rows, labels]
    thresholds = pd.Series(given).groupby(labels).mean().reindex(range(probabilities.shape[1])).to_numpy()
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    is_issue = confident.any(axis=1) & (confident.argmax(axis=1) != labels)
    others = probabilities.copy()
    others[rows, labels] = -1
    figures = {"p_label": given, "p_suggested": others.max(axis=1), "score": given / thresholds[labels]}
    return pd.DataFrame({"is_issue": is_issue, "suggested": others.argmax(axis=1), **figures})
