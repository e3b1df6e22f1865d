"""Sections that every task has."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from lightune.common.blocks import Block, Code, Plots, Section, Table, Text
from lightune.runs.report import plots
from lightune.runs.report.run_results import RunResults
from lightune.runs.report.statistics import interval, resampled
from lightune.runs.scores import overall

SHORT = (
    *(
        "seed",
        "model.pretrained_model_name_or_path",
        "model.pooling",
        "tuning._target_",
        "data.path",
        "data.max_length",
    ),
    *(
        "data.batch_size",
        "data.max_tokens_per_batch",
        "optimizer._target_",
        "optimizer.lr",
        "optimizer.weight_decay",
    ),
    *("scheduler._target_", "scheduler.warmup_ratio", "trainer.max_epochs", "trainer.precision"),
)


def primary(material: RunResults) -> str:
    """Return the figure that a task is judged by."""
    known = [*material.analysis.judged_by, "loss"]
    return next(name for name in known if f"test/{name}" in material.metrics)


def scores(material: RunResults) -> Section:
    """Every overall figure on validation and test, with how far test rows leave it open."""
    intervals = {}
    notes: list[Block] = []
    if material.rows:
        summary = material.summary()
        drawn, exact = resampled(summary), summary.of()
        for name, values in drawn.items():
            value = material.metrics.get(f"test/{name}")
            if value is not None and abs(value - exact[name]) <= 1e-3 * max(1.0, abs(value)):
                intervals[name] = interval(values)
        notes = [
            Text(
                f"95 % intervals: percentile bootstrap, 1,000 draws of the {len(material.rows):,} test rows, seed 0; each figure is "
                "computed anew on each draw. They tell how another draw of rows would move a figure, not another seed of training."
            )
        ]
        if material.metrics.keys() & {"test/distinct1", "test/spearman"}:
            notes.append(
                Text(
                    "Distinct n-grams and Spearman's correlation are no sums over rows: they have no interval here."
                )
            )
    rows = []
    for name in overall(material.metrics):
        cells = [material.metrics.get(f"{stage}/{name}") for stage in ("val", "test")]
        between = "{:.4f} to {:.4f}".format(*intervals[name]) if name in intervals else ""
        rows.append([name, *["" if cell is None else f"{cell:.4f}" for cell in cells], between])
    return Section("Scores", [Table(["", "val", "test", "95 % of test"], rows), *notes])


def learning_curves(material: RunResults) -> Section | None:
    """How loss, learning rate, the judged figure and speed went."""
    drawn: list[tuple[str, Markup]] = []
    losses = _columns(material, ["train/loss", "val/loss"])
    judged = f"val/{primary(material)}"
    for title, names in (
        (judged, [judged] if judged != "val/loss" else []),
        ("learning rate", ["train/learning_rate"]),
        ("samples a second", ["train/samples_per_second"]),
    ):
        if found := _columns(material, names):
            drawn.append((title, plots.curves(found, x="step", y="")))
    if losses:
        drawn.insert(0, ("loss", plots.curves(losses, x="step", y="")))
    return Section("Learning curves", [Plots(drawn)]) if drawn else None


def by_length(material: RunResults) -> Section | None:
    """The judged figure on rows of like length."""
    name = primary(material)
    lengths = np.array([row["length"] for row in material.rows])
    if len(lengths) < 20:
        return None
    summary = material.summary()
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, 6)).astype(int))
    which = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(0, len(edges) - 2))
    bins = [np.flatnonzero(which == number) for number in np.unique(which)]
    if len(bins) < 2:
        return None
    names = [f"{lengths[rows].min()}–{lengths[rows].max()}" for rows in bins]
    values = [summary.of(rows)[name] for rows in bins]
    table = [[n, str(len(rows)), f"{value:.4f}"] for n, rows, value in zip(names, bins, values, strict=True)]
    plot = plots.bars(names, values, x="tokens of a row", y=name)
    return Section(
        "By length", [Plots([(f"test {name} by length", plot)]), Table(["tokens", "rows", name], table)]
    )


def health(material: RunResults) -> Section:
    """What of the data makes figures too good or training worse."""
    data = material.data
    if data is None:
        return Section(
            "Data", [Text("The data is not at hand, so texts are not shown and it was not looked at again.")]
        )
    lengths = {split: data.lengths(split) for split in data.datasets}
    rows = [
        [split, f"{len(found):,}", *(f"{np.quantile(found, q):,.0f}" for q in (0, 0.5, 0.95, 1))]
        for split, found in lengths.items()
    ]
    told: Sequence[str] = data.warnings or ["No row repeats another or is shared by two splits; none is cut."]
    return Section(
        "Data",
        [
            Table(
                ["", "rows", "shortest", "median", "95 %", "longest"],
                rows,
                caption="Tokens of each split, as the model reads them",
            ),
            *map(Text, told),
            Plots([("tokens of a row", plots.histograms(lengths, x="tokens", y="share of rows"))]),
        ],
    )


def how(material: RunResults) -> Section:
    """The settings in short and whole, the command and where it ran."""
    config = material.config
    short = [[name, str(config[name])] for name in SHORT if config.get(name) is not None]
    settings = [[name, str(value)] for name, value in sorted(config.items())]
    where = [[name, str(value)] for name, value in material.environment.items()]
    speed = [
        [name, f"{material.metrics[name]:,.{0 if material.metrics[name] > 1000 else 1}f}"]
        for name in ("train/seconds", "train/samples_per_second", "parameters/total", "parameters/trainable")
        if name in material.metrics
    ]
    return Section(
        "How it was made",
        [
            Code(material.command),
            Table(["setting", "value"], short),
            Table(["environment", ""], where) if where else Text("The run did not record its environment."),
            Table(["", ""], speed),
            Table(["setting", "value"], settings, caption="All settings", folded=True),
        ],
    )


def _columns(material: RunResults, names: Sequence[str]) -> dict[str, plots.Curve]:
    found: dict[str, plots.Curve] = {}
    for name in names:
        points = [(row["step"], row[name]) for row in material.history if name in row]
        if points:
            found[name] = [step for step, _ in points], [value for _, value in points]
    return found
