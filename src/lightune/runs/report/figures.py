"""The figures of a task as sums over rows: what is resampled, and whether a row is right."""

from functools import partial
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from lightune.runs.report.predictions import Row
from lightune.runs.report.statistics import Figures, Summary
from lightune.tasks.metrics.generation import ROUGE

MATTHEWS = 20  # labels, up to which every cell of the confusion matrix is resampled


def kind_of(rows: list[Row]) -> str:
    """Return ``classes``, ``labels`` (several at once), ``number``, ``entities``, ``answers`` or ``texts``."""
    first = rows[0]
    if "counts" in first:
        return "texts"
    if "exact_match" in first:
        return "answers"
    if "probabilities" in first:
        return "labels" if isinstance(first["true"], list) else "classes"
    return "entities" if isinstance(first["true"], list) else "number"


def summarize(rows: list[Row], *, perplexity: bool) -> Summary:
    """Return the figures of a task, named as in ``metrics.json`` behind ``test/``."""
    kind = kind_of(rows)
    statistics, figures = {
        "classes": _classes,
        "labels": _labels,
        "number": _number,
        "entities": _entities,
        "answers": _answers,
        "texts": _texts,
    }[kind](rows)
    targets = np.array([row["targets"] for row in rows], dtype=float)
    losses = np.array([row["loss"] for row in rows]) * targets
    whole = np.column_stack([losses, targets, statistics])
    return Summary(whole, partial(_with_loss, figures=figures, perplexity=perplexity))


def right(rows: list[Row]) -> np.ndarray | None:
    """Return which rows are right (rows,), where a row is right or wrong; else None."""
    if kind_of(rows) in ("number", "texts"):
        return None
    if kind_of(rows) == "answers":
        return np.array([row["exact_match"] == 1 for row in rows])
    return np.array([row["true"] == row["predicted"] for row in rows])


def _with_loss(sums: np.ndarray, *, figures: Any, perplexity: bool) -> Figures:
    loss = _ratio(sums[:, 0], sums[:, 1])
    found: Figures = figures(sums[:, 2:])
    return {"loss": loss} | ({"perplexity": np.exp(loss)} if perplexity else {}) | found


def _classes(rows: list[Row]) -> Any:
    true, predicted = (np.array([row[name] for row in rows]) for name in ("true", "predicted"))
    n = len(rows[0]["probabilities"])
    eye = np.eye(n)
    if n > MATTHEWS:
        return np.hstack([eye[true] * (true == predicted)[:, None], eye[predicted], eye[true]]), _by_class
    return np.eye(n * n)[true * n + predicted], _of_matrix


def _of_matrix(sums: np.ndarray) -> Figures:
    n = round(sums.shape[1] ** 0.5)
    matrix = sums.reshape(-1, n, n)
    hits, true, predicted = np.einsum("sii->si", matrix), matrix.sum(axis=2), matrix.sum(axis=1)
    total, correct = sums.sum(axis=1), hits.sum(axis=1)
    # Matthews' correlation of several classes (Gorodkin, 2004)
    covariance = correct * total - (true * predicted).sum(axis=1)
    spread = (total**2 - (predicted**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
    matthews = {"matthews_corrcoef": _ratio(covariance, np.sqrt(spread))}
    return _by_class(np.hstack([hits, predicted, true])) | matthews


def _by_class(sums: np.ndarray) -> Figures:
    hits, predicted, true = np.split(sums, 3, axis=1)
    return {"accuracy": hits.sum(axis=1) / true.sum(axis=1)} | _macro(hits, predicted, true, all_count=False)


def _macro(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray, *, all_count: bool) -> Figures:
    """Return means over classes; of one label a row those are left out that no row has or is taken for."""
    weights = np.ones_like(hits) if all_count else (predicted + true > 0).astype(float)
    by_class = {
        "f1": _ratio(2 * hits, predicted + true),
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, true),
    }
    return {name: (values * weights).sum(axis=1) / weights.sum(axis=1) for name, values in by_class.items()}


def _labels(rows: list[Row]) -> Any:
    true, predicted = (np.array([row[name] for row in rows]) for name in ("true", "predicted"))
    exact = (true == predicted).all(axis=1)
    statistics = np.column_stack([exact, np.ones(len(rows)), true * predicted, predicted, true])

    def figures(sums: np.ndarray) -> Figures:
        hits, predicted, true = np.split(sums[:, 2:], 3, axis=1)
        return {"accuracy": sums[:, 0] / sums[:, 1]} | _macro(hits, predicted, true, all_count=True)

    return statistics, figures


def _number(rows: list[Row]) -> Any:
    true, predicted = (np.array([row[name] for row in rows], dtype=float) for name in ("true", "predicted"))
    error = predicted - true
    x, y = true - true.mean(), predicted - predicted.mean()

    def figures(sums: np.ndarray) -> Figures:
        n, square, absolute, sx, sy, sxx, syy, sxy = sums.T
        spread = np.sqrt(np.maximum((n * sxx - sx**2) * (n * syy - sy**2), 0))
        return {"mse": square / n, "mae": absolute / n, "pearson": _ratio(n * sxy - sx * sy, spread)}

    return np.column_stack([np.ones(len(rows)), error**2, abs(error), x, y, x * x, y * y, x * y]), figures


def entity_counts(rows: list[Row]) -> dict[str, np.ndarray]:
    """Return for each type the entities that are right, predicted and true, by row (rows, 3)."""
    types = sorted({entity[0] for row in rows for name in ("true", "predicted") for entity in row[name]})
    counts = {kind: np.zeros((len(rows), 3)) for kind in types}
    for index, row in enumerate(rows):
        true, predicted = ({tuple(entity) for entity in row[name]} for name in ("true", "predicted"))
        for column, entities in enumerate((true & predicted, predicted, true)):
            for kind, *_ in entities:
                counts[kind][index, column] += 1
    return counts


def _entities(rows: list[Row]) -> Any:
    def figures(sums: np.ndarray) -> Figures:
        hits, predicted, true = sums.T
        return {
            "f1": _ratio(2 * hits, predicted + true),
            "precision": _ratio(hits, predicted),
            "recall": _ratio(hits, true),
        }

    return sum(entity_counts(rows).values(), np.zeros((len(rows), 3))), figures


def _answers(rows: list[Row]) -> Any:
    statistics = np.array([[1, row["exact_match"], row["f1"]] for row in rows], dtype=float)
    return statistics, lambda sums: {"exact_match": sums[:, 1] / sums[:, 0], "f1": sums[:, 2] / sums[:, 0]}


def _texts(rows: list[Row]) -> Any:
    """Return the figures of generated texts; distinct n-grams are no sums, so they have no interval."""
    names = list(rows[0]["counts"])
    sizes = [len(rows[0]["counts"][name]) for name in names]
    statistics = np.array(
        [[1, *(c for name in names for c in row["counts"][name])] for row in rows], dtype=float
    )

    def figures(sums: np.ndarray) -> Figures:
        found: Figures = {}
        for name, part in zip(names, np.split(sums[:, 1:], np.cumsum(sizes)[:-1], axis=1), strict=True):
            if name == "rouge":
                found |= dict(zip(ROUGE.names, (part / sums[:, :1]).T, strict=True))
            else:
                scorer: Any = BLEU() if name == "bleu" else CHRF()
                scores = [scorer._compute_score_from_stats([round(c) for c in row]).score for row in part]
                found[name] = np.array(scores)
        return found

    return statistics, figures


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return a quotient, 0 where there is nothing to divide by."""
    result: np.ndarray = np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)
    return result
