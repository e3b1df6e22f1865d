"""The sections that every task has."""

import numpy as np

from lightune.common.html_blocks import Block, Code, Plots, Section, Table, Text
from lightune.runs.report import plots
from lightune.runs.report.run_results import RunResults
from lightune.runs.report.statistics import interval, resampled
from lightune.runs.score_table import overall, shown_name

MAIN_SETTINGS = (
    *("seed", "model.pretrained_model_name_or_path", "model.pooling", "task.head._target_", "tuning._target_"),
    *("task.criterion._target_", "task.class_weights", "data.path"),
    *("data.max_length", "data.batch_size", "data.max_tokens_per_batch", "optimizer._target_"),
    *("optimizer.lr", "optimizer.weight_decay", "scheduler._target_", "scheduler.warmup_ratio"),
    *("trainer.max_epochs", "trainer.precision"),
)


def primary(results: RunResults) -> str:
    """Return the metric that a task is judged by."""
    return next(name for name in (*results.analysis.judged_by, "loss") if f"test/{name}" in results.metrics)


def scores(results: RunResults) -> Section:
    """Return every overall metric on validation and test, with a confidence interval on test."""
    intervals = {}
    notes: list[Block] = []
    if results.rows:
        summary = results.summary()
        drawn, exact = resampled(summary), summary.of()
        for name, values in drawn.items():
            value = results.metrics.get(f"test/{name}")
            if value is not None and abs(value - exact[name]) <= 1e-3 * max(1.0, abs(value)):
                intervals[name] = interval(values)
        notes.append(
            Text(
                f"95 % intervals: percentile bootstrap, 1,000 draws of the {len(results.rows):,} test rows, seed 0; each "
                "draw computes the figure anew. They show how much a figure would change on other rows, not with another "
                "training seed."
            )
        )
        if any(f"test/{name}" in results.metrics and name not in drawn for name in overall(results.metrics)):
            notes.append(Text("Figures that are not kept as sums over rows have no interval here."))
    rows, stages = [], [stage for stage in ("val", "test", "pretrained") if f"{stage}/loss" in results.metrics]
    for name in overall(results.metrics):
        figures = [results.metrics.get(f"{stage}/{name}") for stage in stages]
        between = "{:.4f} to {:.4f}".format(*intervals[name]) if name in intervals else ""
        shown = shown_name(name, results.signatures)
        rows.append([shown, *("" if figure is None else f"{figure:.4f}" for figure in figures), between])
    return Section("Scores", [Table(["", *stages, "95 % of test"], rows), *notes])


def learning_curves(results: RunResults) -> Section | None:
    """Return curves of the losses, the primary metric, the learning rate and the speed."""
    metric = f"val/{primary(results)}"
    names_by_title = {
        shown_name("loss", results.signatures): ["train/loss", "val/loss"],
        metric: [metric] if metric != "val/loss" else [],
        "learning rate": ["train/learning_rate"],
        "samples a second": ["train/samples_per_second"],
    }
    drawn = [
        (title, plots.curves(curves, x="step", y=""))
        for title, names in names_by_title.items()
        if (curves := results.curves(names))
    ]
    return Section("Learning curves", [Plots(drawn)]) if drawn else None


def by_length(results: RunResults) -> Section | None:
    """Return the primary metric on test rows of similar length; None where there are too few."""
    name = primary(results)
    lengths = np.array([row["length"] for row in results.rows])
    if len(lengths) < 20:
        return None
    summary = results.summary()
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, 6)).astype(int))
    which = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(0, len(edges) - 2))
    bins = [np.flatnonzero(which == number) for number in np.unique(which)]
    if len(bins) < 2:
        return None
    ranges = [f"{lengths[rows].min()}–{lengths[rows].max()}" for rows in bins]
    values = [summary.of(rows)[name] for rows in bins]
    table = [[r, str(len(rows)), f"{value:.4f}"] for r, rows, value in zip(ranges, bins, values, strict=True)]
    plot = plots.bars(ranges, values, x="tokens of a row", y=name)
    blocks: list[Block] = [Plots([(f"test {name} by length", plot)]), Table(["tokens", "rows", name], table)]
    return Section("By length", blocks)


def health(results: RunResults) -> Section:
    """Return the lengths of the data, and the problems that were found in it."""
    data = results.data
    if data is None:
        text = "The data is not available, so its texts are not shown and its problems are not reported."
        return Section("Data", [Text(text)])
    lengths = {split: data.lengths(split) for split in data.datasets}
    rows = [
        [split, f"{len(tokens):,}", *(f"{np.quantile(tokens, q):,.0f}" for q in (0, 0.5, 0.95, 1))]
        for split, tokens in lengths.items()
    ]
    header = ["", "rows", "shortest", "median", "95 %", "longest"]
    table = Table(header, rows, caption="Tokens of each split, as the model reads them")
    warnings = data.warnings or ["No row repeats another or is in two splits; none is cut."]
    plot = plots.histograms(lengths, x="tokens", y="share of rows")
    return Section("Data", [table, *map(Text, warnings), Plots([("tokens of a row", plot)])])


def how(results: RunResults) -> Section:
    """Return the command, the settings and the environment."""
    config, metrics, environment = results.config, results.metrics, results.environment
    main = [[name, str(config[name])] for name in MAIN_SETTINGS if config.get(name) is not None]
    settings = [[name, str(value)] for name, value in sorted(config.items())]
    where = [[name, str(value)] for name, value in environment.items()]
    speed = [
        [name, f"{metrics[name]:,.{0 if metrics[name] > 1000 else 1}f}"]
        for name in ("train/seconds", "train/samples_per_second", "parameters/total", "parameters/trainable")
        if name in metrics
    ]
    blocks: list[Block] = [
        Code(results.command),
        Table(["setting", "value"], main),
        Table(["environment", ""], where) if where else Text("The run did not record its environment."),
        Table(["", ""], speed),
        Table(["setting", "value"], settings, caption="All settings", folded=True),
    ]
    return Section("How it was made", blocks)
