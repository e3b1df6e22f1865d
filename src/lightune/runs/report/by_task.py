"""Sections that fit a task's kind of rows."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from lightune.runs.report import plots
from lightune.runs.report.blocks import Block, Matrix, Plots, Rows, Section, Table, Text
from lightune.runs.report.figures import entity_counts, kind_of, right
from lightune.runs.report.predictions import Row
from lightune.runs.report.run_results import RunResults
from lightune.runs.report.statistics import reliability
from lightune.runs.scores import MOST_LABELS

SHOWN = 8  # rows of a kind


def details(material: RunResults) -> Section | None:
    """What a task's errors are made of."""
    if not material.rows:
        return None
    kind = kind_of(material.rows)
    blocks_of: dict[str, Callable[[RunResults], list[Block]]] = {
        "classes": _classes,
        "labels": _labels,
        "number": _number,
        "entities": _entities,
        "answers": _answers,
    }
    return Section("Where it goes wrong", blocks_of[kind](material)) if kind in blocks_of else None


def calibration(material: RunResults) -> Section | None:
    """Whether rows of 90 % confidence are right in 90 of 100, where rows have one label each."""
    if not material.rows or kind_of(material.rows) != "classes":
        return None
    confidence = np.array([max(row["probabilities"]) for row in material.rows])
    correct = right(material.rows)
    assert correct is not None
    bins = reliability(confidence, correct)
    towards = "sure of itself" if confidence.mean() > correct.mean() else "unsure of itself"
    text = (
        f"Expected calibration error: {bins.error:.4f} (15 bins of equal width). Mean confidence {confidence.mean():.4f}, "
        f"accuracy {correct.mean():.4f}: on the whole it is too {towards}. A larger dot holds more rows; below the dashed line it is "
        "wrong more often than it says."
    )
    plot = plots.reliability(bins.confidence, bins.accuracy, bins.count)
    return Section("Calibration", [Plots([("reliability on test", plot)]), Text(text)])


def worst(material: RunResults) -> Section | None:
    """Rows that are wrong with most confidence, and those it was least sure of."""
    if not material.rows:
        return None
    kind = kind_of(material.rows)
    rows = material.rows
    correct = right(rows)
    blocks: list[Block] = []
    if kind == "texts":
        ordered = sorted(rows, key=_text_score)
        middle = len(ordered) // 2
        for title, some in (
            ("Best", ordered[::-1][:3]),
            ("In the middle", ordered[middle : middle + 3]),
            ("Worst", ordered[:3]),
        ):
            blocks += [Text(f"{title}:"), _shown(material, some)]
        return Section("Generated texts", blocks)
    if correct is None:
        furthest = sorted(rows, key=lambda row: -row["loss"])[:SHOWN]
        return Section("Rows to look at", [Text("Furthest from their label:"), _shown(material, furthest)])
    wrong = [row for row, is_right in zip(rows, correct, strict=True) if not is_right]
    unsure = sorted(rows, key=_margin)[:SHOWN]
    how = "Wrong, and most sure of it" if kind in ("classes", "answers") else "Wrong, with the highest loss"
    blocks = [
        Text(f"{how} ({len(wrong):,} of {len(rows):,} rows are wrong):"),
        _shown(material, most_sure(wrong)[:SHOWN]),
    ]
    return Section(
        "Rows to look at", [*blocks, Text("Least sure, right or wrong:"), _shown(material, unsure)]
    )


def most_sure(wrong: list[Row]) -> list[Row]:
    """Return rows that are wrong, those first that are most sure of it; entities and several labels by their loss."""
    by_confidence = bool(wrong) and kind_of(wrong) in ("classes", "answers")
    return sorted(wrong, key=lambda row: -_confidence(row) if by_confidence else -row["loss"])


def _shown(material: RunResults, rows: list[Row]) -> Block:
    found = []
    for row in rows:
        title = f"row {row['row'] + 1} · loss {row['loss']:.3f} · {_said(material, row)}"
        extra = [("predicted", str(row["predicted"]))] if isinstance(row["predicted"], str) else []
        found.append((title, [*material.texts(row), *extra]))
    return Rows(found)


def said(names: list[str], row: Row) -> str:
    """Say in short what a row was and what it was taken for."""
    kind = kind_of([row])
    if kind == "classes":
        label, taken = names[row["true"]], names[row["predicted"]]
        sure = f"{row['probabilities'][row['predicted']]:.3f}"
        return f"is {label}, predicted {taken} ({sure})"
    if kind == "labels":
        both = ([n for n, on in zip(names, row[key], strict=True) if on] for key in ("true", "predicted"))
        return "is {}, predicted {}".format(*(", ".join(some) or "nothing" for some in both))
    if kind == "number":
        return f"is {row['true']:.4g}, predicted {row['predicted']:.4g}"
    if kind == "answers":
        return f"{row['error']} · F1 {row['f1']:.2f} · score {row['score']:.2f}"
    if kind == "entities":
        true, found = ({tuple(e) for e in row[key]} for key in ("true", "predicted"))
        missed, extra = (
            ", ".join(f"{t} {a + 1}–{b}" for t, a, b in sorted(some)) for some in (true - found, found - true)
        )
        return f"missed (words): {missed or 'nothing'} · too much: {extra or 'nothing'}"
    return " · ".join(f"{name} {value:.3f}" for name, value in text_scores(row).items())


def _said(material: RunResults, row: Row) -> str:
    return said(material.label_names, row)


def text_scores(row: Row) -> dict[str, float]:
    """Return what a generated text scores by itself."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    found = {}
    for name, counts in row["counts"].items():
        if name == "rouge":
            found["ROUGE-L"] = counts[2]
        else:  # a text alone has seldom four words in a row right: BLEU is smoothed for it
            scorer: Any = BLEU(effective_order=True) if name == "bleu" else CHRF()
            found["chrF" if name == "chrf" else "BLEU"] = scorer._compute_score_from_stats(counts).score
    return found


def _text_score(row: Row) -> float:
    values = text_scores(row)
    return next((values[name] for name in ("chrF", "ROUGE-L", "BLEU") if name in values), -row["loss"])


def _confidence(row: Row) -> float:
    return float(row["score"] if "score" in row else max(row["probabilities"]))


def _margin(row: Row) -> float:
    if "score" in row:
        return float(row["score"])
    if isinstance(row["true"], list):
        return float(min(abs(p - 0.5) for p in row["probabilities"]))
    first, second = sorted(row["probabilities"], reverse=True)[:2]
    return float(first - second)


def _classes(material: RunResults) -> list[Block]:
    names = material.label_names
    matrix = np.zeros((len(names), len(names)), dtype=int)
    for row in material.rows:
        matrix[row["true"], row["predicted"]] += 1
    hits, true, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    blocks: list[Block] = []
    if len(names) <= MOST_LABELS:
        blocks.append(Matrix(names, matrix.tolist()))
    else:
        mistaken = matrix - np.diag(hits)
        order = np.argsort(-mistaken, axis=None)[:MOST_LABELS]
        pairs = [divmod(int(index), len(names)) for index in order if mistaken.flat[index]]
        rows = [[names[i], names[j], f"{matrix[i, j]:,}", f"{matrix[i, j] / true[i]:.1%}"] for i, j in pairs]
        blocks.append(
            Table(["is", "predicted", "rows", "of its rows"], rows, caption="What is mistaken most often")
        )
    return [*blocks, _by_name(names, hits, predicted, true)]


def _labels(material: RunResults) -> list[Block]:
    true, predicted = (np.array([row[key] for row in material.rows]) for key in ("true", "predicted"))
    sums = (true * predicted).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0)
    return [_by_name(material.label_names, *sums)]


def _number(material: RunResults) -> list[Block]:
    true, predicted = (np.array([row[key] for row in material.rows]) for key in ("true", "predicted"))
    return [Plots([("test rows", plots.scatter(true, predicted, x="true", y="predicted"))])]


def _entities(material: RunResults) -> list[Block]:
    counts = entity_counts(material.rows)
    hits, predicted, true = np.array([found.sum(axis=0) for found in counts.values()]).reshape(-1, 3).T
    kinds: Counter[str] = Counter()
    for row in material.rows:
        wanted, found = ({tuple(e) for e in row[key]} for key in ("true", "predicted"))
        for _, start, end in found - wanted:
            places = {(a, b): t for t, a, b in wanted}
            if (start, end) in places:
                kinds["right words, another type"] += 1
            elif any(a < end and start < b for a, b in places):
                kinds["words overlap, but are not the same"] += 1
            else:
                kinds["there is no entity"] += 1
        kinds["missed: nothing predicted there"] += sum(
            not any(a < end and start < b for _, a, b in found) for _, start, end in wanted
        )
    rows = [[name, f"{count:,}"] for name, count in kinds.most_common() if count]
    return [_by_name(list(counts), hits, predicted, true), Table(["kind of error", "entities"], rows)]


def _answers(material: RunResults) -> list[Block]:
    kinds = Counter(row["error"] for row in material.rows)
    rows = [
        [name, f"{count:,}", f"{count / len(material.rows):.1%}", f"{_mean_f1(material.rows, name):.3f}"]
        for name, count in kinds.most_common()
    ]
    return [Table(["answer", "rows", "share", "mean F1"], rows)]


def _mean_f1(rows: list[Row], error: str) -> float:
    return float(np.mean([row["f1"] for row in rows if row["error"] == error]))


def _by_name(names: list[str], hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> Block:
    rows = []
    for name, h, p, t in zip(names, hits, predicted, true, strict=True):
        figures = (h / p if p else 0, h / t if t else 0, 2 * h / (p + t) if p + t else 0)
        rows.append([name, *(f"{figure:.4f}" for figure in figures), f"{int(t):,}", f"{int(p):,}"])
    return Table(
        ["", "precision", "recall", "F1", "in test", "predicted"],
        rows,
        folded=len(rows) > 40,
        caption="One by one",
    )
