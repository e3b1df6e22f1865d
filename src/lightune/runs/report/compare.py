"""Two or more runs on the same test rows: side by side, with tests of their differences."""

from collections.abc import Sequence

import numpy as np

from lightune.common.errors import UserError
from lightune.common.html_blocks import Block, Plots, Rows, Section, Table, Text
from lightune.runs.report import plots
from lightune.runs.report.general import primary
from lightune.runs.report.run_results import RunResults
from lightune.runs.report.statistics import Difference, interval, mcnemar, paired_bootstrap, resampled
from lightune.runs.score_table import overall, shown_name

SIGNIFICANCE = 0.05
# example rows of each kind
EXAMPLES = 5


def compare(runs: Sequence[RunResults]) -> list[Section]:
    """Compare each further run with the first.

    Raises:
        UserError: they were not tested on the same rows, or are of different tasks.
    """
    _check(runs)
    name = primary(runs[0])
    blocks: list[Block] = [Table(["", "run"], [[_letter(i), str(run.folder)] for i, run in enumerate(runs)])]
    blocks += [Text(verdict(runs[0], run, _letter(0), _letter(i), name)) for i, run in enumerate(runs) if i]
    blocks.append(_scores(runs))
    note = (
        "The tests show whether these checkpoints differ on rows like these. "
        "Another seed of training may change a figure by more."
    )
    if len(runs) > 2:
        note += f" The p-values of the {len(runs) - 1} comparisons are not corrected for their number."
    blocks.append(Text(note))
    sections = [Section("Side by side", blocks), _settings(runs)]
    metric = f"val/{name}"
    if curves := {_letter(i): curve for i, run in enumerate(runs) for curve in run.curves([metric]).values()}:
        plot = plots.curves(curves, x="step", y="")
        sections.append(Section("Learning curves", [Plots([(metric, plot)])]))
    return [*sections, *_differing_rows(runs)]


def verdict(first: RunResults, second: RunResults, a: str, b: str, name: str) -> str:
    """Say whether the second run is significantly better than the first; ``a`` and ``b`` are their letters."""
    difference = paired_bootstrap(first.summary(), second.summary())[name]
    p, test = difference.p, "paired bootstrap"
    first_right, second_right = first.analysis.correct(), second.analysis.correct()
    counts = ""
    if name in ("accuracy", "exact_match") and first_right is not None and second_right is not None:
        only_a, only_b, p = mcnemar(first_right, second_right)
        test = "exact McNemar test"
        counts = f" Only {a} has {only_a:,} rows right, only {b} {only_b:,}."
    comparative = "better" if (difference.value > 0) != (name in first.analysis.lower_is_better) else "worse"
    if difference.value == 0:
        conclusion = f"{a} and {b} have the same {name}."
    elif p < SIGNIFICANCE:
        conclusion = f"{b} is {comparative} than {a}, and the difference is real at the 5 % level."
    else:
        conclusion = f"{b} looks {comparative} than {a}, but the difference may well be chance."
    values = f"{first.metrics[f'test/{name}']:.4f} ({a}) and {second.metrics[f'test/{name}']:.4f} ({b})"
    return (
        f"{conclusion} Test {name}: {values}, a difference of {difference.value:+.4f} (95 % interval {difference.low:+.4f} to "
        f"{difference.high:+.4f}) on the same {len(first.rows):,} rows; {test}, p = {p:.3g}.{counts}"
    )


def _check(runs: Sequence[RunResults]) -> None:
    first = runs[0]
    for run in runs[1:]:
        kinds = [(type(pair.analysis), pair.analysis.label_names) for pair in (first, run)]
        if kinds[0] != kinds[1]:
            raise UserError(
                f"{first.folder} and {run.folder} were trained for different tasks or labels.\n"
                "Compare runs of one task on one data set."
            )
        keys = [[(row["row"], row["id"], row.get("true")) for row in pair.rows] for pair in (first, run)]
        if keys[0] != keys[1]:
            common = {row["id"] for row in first.rows} & {row["id"] for row in run.rows}
            raise UserError(
                f"{first.folder} and {run.folder} were not measured on the same rows: {len(first.rows):,} and "
                f"{len(run.rows):,} test rows, {len(common):,} in common.\n"
                "A difference would say more about the rows than about the runs. Train both with the same data.path, "
                "data.test_split, data.test_fraction, data.split_seed, data.max_eval_samples and data.max_test_samples."
            )


def _scores(runs: Sequence[RunResults]) -> Block:
    drawn = [resampled(run.summary()) for run in runs]
    differences = [paired_bootstrap(runs[0].summary(), run.summary()) for run in runs[1:]]
    rows = []
    for name in overall(runs[0].metrics):
        if not all(f"test/{name}" in run.metrics for run in runs):
            continue
        # one loss less another says nothing
        if name == "loss" and len({run.signatures.get("loss") for run in runs}) > 1:
            continue
        cells = [shown_name(name, runs[0].signatures)]
        for run, values in zip(runs, drawn, strict=True):
            between = " ({:.4f} to {:.4f})".format(*interval(values[name])) if name in values else ""
            cells.append(f"{run.metrics[f'test/{name}']:.4f}{between}")
        rows.append(cells + [_cell(by_name.get(name)) for by_name in differences])
    letters = [_letter(i) for i in range(len(runs))]
    header = ["test", *letters, *(f"{letter} − {letters[0]}" for letter in letters[1:])]
    caption = "95 % intervals by bootstrap over rows; differences by paired bootstrap"
    return Table(header, rows, caption=caption)


def _cell(difference: Difference | None) -> str:
    if difference is None:
        return ""
    low, high = difference.low, difference.high
    return f"{difference.value:+.4f} ({low:+.4f} to {high:+.4f}), p = {difference.p:.3g}"


def _settings(runs: Sequence[RunResults]) -> Section:
    names = sorted({name for run in runs for name in run.config} - {"run_dir"})
    values = {name: [str(run.config.get(name, "")) for run in runs] for name in names}
    rows = [[name, *cells] for name, cells in values.items() if len(set(cells)) > 1]
    header = ["setting", *(_letter(i) for i in range(len(runs)))]
    return Section("What was set differently", [Table(header, rows) if rows else Text("Nothing.")])


def _differing_rows(runs: Sequence[RunResults]) -> list[Section]:
    first, sections = runs[0], []
    first_right = first.analysis.correct()
    for i, run in enumerate(runs[1:], start=1):
        run_right = run.analysis.correct()
        if first_right is None or run_right is None:
            continue
        blocks: list[Block] = []
        a, b = _letter(0), _letter(i)
        for letter, mask in ((a, first_right & ~run_right), (b, run_right & ~first_right)):
            indices = np.flatnonzero(mask)
            examples = []
            for index in indices[:EXAMPLES]:
                row, other = first.rows[index], run.rows[index]
                descriptions = f"{a}: {first.analysis.describe(row)} · {b}: {run.analysis.describe(other)}"
                title = f"row {row['row'] + 1} · {descriptions}"
                examples.append((title, first.texts(row)))
            blocks += [Text(f"Only {letter} is right: {len(indices):,} rows"), Rows(examples)]
        sections.append(Section(f"Where {a} and {b} differ", blocks))
    return sections


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"run {index + 1}"
