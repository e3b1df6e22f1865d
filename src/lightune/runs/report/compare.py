"""Two or more runs on the same rows: side by side, and whether a difference is more than chance."""

from collections.abc import Sequence

import numpy as np

from lightune.common.blocks import Block, Plots, Rows, Section, Table, Text
from lightune.common.errors import UserError
from lightune.runs.report import plots
from lightune.runs.report.general import primary
from lightune.runs.report.run_results import RunResults
from lightune.runs.report.statistics import interval, mcnemar, paired_bootstrap, resampled
from lightune.runs.scores import overall

LEVEL = 0.05
SHOWN = 5


def compare(runs: Sequence[RunResults]) -> list[Section]:
    """Compare each further run with the first.

    Raises:
        UserError: they were not measured on the same rows, or for another task.
    """
    _check(runs)
    name = primary(runs[0])
    blocks: list[Block] = [Table(["", "run"], [[_letter(i), str(run.folder)] for i, run in enumerate(runs)])]
    blocks += [Text(sentence(runs[0], run, _letter(0), _letter(i), name)) for i, run in enumerate(runs) if i]
    blocks.append(_scores(runs))
    note = "Tests say whether these checkpoints differ on rows like these. Another seed of training may move a figure by more."
    if len(runs) > 2:
        note += f" {len(runs) - 1} comparisons were made and p-values are not corrected for that."
    blocks.append(Text(note))
    sections = [Section("Side by side", blocks), _settings(runs)]
    curves: dict[str, plots.Curve] = {}
    for i, run in enumerate(runs):
        points = [(row["step"], row[f"val/{name}"]) for row in run.history if f"val/{name}" in row]
        if points:
            curves[_letter(i)] = [step for step, _ in points], [value for _, value in points]
    if curves:
        sections.append(
            Section("Learning curves", [Plots([(f"val/{name}", plots.curves(curves, x="step", y=""))])])
        )
    return [*sections, *_differing(runs)]


def sentence(first: RunResults, second: RunResults, a: str, b: str, name: str) -> str:
    """Say whether the second run is better than the first by more than chance."""
    difference = paired_bootstrap(first.summary(), second.summary())[name]
    p, test = difference.p, "paired bootstrap"
    ours, theirs = first.analysis.correct(), second.analysis.correct()
    apart = ""
    if name in ("accuracy", "exact_match") and ours is not None and theirs is not None:
        only_a, only_b, p = mcnemar(ours, theirs)
        test = "exact McNemar test"
        apart = f" Only {a} has {only_a:,} rows right, only {b} {only_b:,}."
    better = (difference.value > 0) != (name in first.analysis.lower_is_better)
    values = f"{first.metrics[f'test/{name}']:.4f} ({a}) and {second.metrics[f'test/{name}']:.4f} ({b})"
    if difference.value == 0:
        verdict = f"{a} and {b} have the same {name}."
    elif p < LEVEL:
        verdict = (
            f"{b} is {'better' if better else 'worse'} than {a}, and the difference is real at the 5 % level."
        )
    else:
        verdict = (
            f"{b} looks {'better' if better else 'worse'} than {a}, but the difference may well be chance."
        )
    return (
        f"{verdict} Test {name}: {values}, a difference of {difference.value:+.4f} (95 % interval {difference.low:+.4f} to "
        f"{difference.high:+.4f}) on the same {len(first.rows):,} rows; {test}, p = {p:.3g}.{apart}"
    )


def _check(runs: Sequence[RunResults]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if (
            type(first.analysis) is not type(run.analysis)
            or first.analysis.label_names != run.analysis.label_names
        ):
            raise UserError(
                f"{first.folder} and {run.folder} were trained for different tasks or labels.\n"
                "Compare runs of one task on one data set."
            )
        ours, theirs = (
            [(row["row"], row["id"], row.get("true")) for row in one.rows] for one in (first, run)
        )
        if ours != theirs:
            ids = [{row["id"] for row in one.rows} for one in (first, run)]
            raise UserError(
                f"{first.folder} and {run.folder} were not measured on the same rows: {len(first.rows):,} and "
                f"{len(run.rows):,} test rows, {len(ids[0] & ids[1]):,} in common.\n"
                "A difference would say more about the rows than about the runs. Train both with the same data.path, "
                "data.test_split, data.test_fraction, data.split_seed and data.max_eval_samples."
            )


def _scores(runs: Sequence[RunResults]) -> Block:
    drawn = [resampled(run.summary()) for run in runs]
    differences = [paired_bootstrap(runs[0].summary(), run.summary()) for run in runs[1:]]
    rows = []
    for name in overall(runs[0].metrics):
        if not all(f"test/{name}" in run.metrics for run in runs):
            continue
        cells = [name]
        for run, values in zip(runs, drawn, strict=True):
            between = " ({:.4f} to {:.4f})".format(*interval(values[name])) if name in values else ""
            cells.append(f"{run.metrics[f'test/{name}']:.4f}{between}")
        for found in differences:
            one = found.get(name)
            cells.append(
                ""
                if one is None
                else f"{one.value:+.4f} ({one.low:+.4f} to {one.high:+.4f}), p = {one.p:.3g}"
            )
        rows.append(cells)
    letters = [_letter(i) for i in range(len(runs))]
    header = ["test", *letters, *(f"{letter} − {letters[0]}" for letter in letters[1:])]
    return Table(
        header, rows, caption="95 % intervals by bootstrap over rows; differences by paired bootstrap"
    )


def _settings(runs: Sequence[RunResults]) -> Section:
    names = sorted({name for run in runs for name in run.config})
    values = {name: [str(run.config.get(name, "")) for run in runs] for name in names}
    rows = [[name, *found] for name, found in values.items() if len(set(found)) > 1 and name != "run_dir"]
    letters = [_letter(i) for i in range(len(runs))]
    return Section(
        "What was set differently", [Table(["setting", *letters], rows) if rows else Text("Nothing.")]
    )


def _differing(runs: Sequence[RunResults]) -> list[Section]:
    ours = runs[0].analysis.correct()
    sections = []
    for i, run in enumerate(runs[1:], start=1):
        theirs = run.analysis.correct()
        if ours is None or theirs is None:
            continue
        blocks: list[Block] = []
        for title, mask in (
            (f"Only {_letter(0)} is right", ours & ~theirs),
            (f"Only {_letter(i)} is right", theirs & ~ours),
        ):
            chosen = np.flatnonzero(mask)
            found = []
            for index in chosen[:SHOWN]:
                a, b = runs[0].rows[index], run.rows[index]
                described = runs[0].analysis.describe(a), run.analysis.describe(b)
                says = f"row {a['row'] + 1} · {_letter(0)}: {described[0]} · {_letter(i)}: {described[1]}"
                found.append((says, runs[0].texts(a)))
            blocks += [Text(f"{title}: {len(chosen):,} rows"), Rows(found)]
        sections.append(Section(f"Where {_letter(0)} and {_letter(i)} differ", blocks))
    return sections


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"run {index + 1}"
