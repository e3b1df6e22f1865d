"""What a person reads at the end: the scores, where the run lies, what to do next."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightune.tasks import Task

OVERALL = (
    "loss", "perplexity", "accuracy", "exact_match", "f1", "precision", "recall", "matthews_corrcoef",
    "mse", "mae", "pearson", "spearman",
    "bleu", "chrf", "rouge1", "rouge2", "rougeL", "rougeLsum", "distinct1", "distinct2",
    "distinct_outputs", "repetition", "empty",
)  # fmt: skip
"""Figures over all rows, in the order in which they are printed; others follow."""

MOST_LABELS = 20  # a longer table is read in metrics.json


def overall(names: Iterable[str]) -> list[str]:
    """Return the figures over all rows among names such as ``val/f1`` or ``test/f1/LABEL``, each once, in order."""
    stages = [name.partition("/")[2] for name in names if name.startswith(("val/", "test/"))]
    figures = {name for name in stages if "/" not in name}
    return [*(name for name in OVERALL if name in figures), *sorted(figures - {*OVERALL})]


def shown_name(figure: str, signatures: Mapping[str, str]) -> str:
    """Return a figure's name, of another loss than the task's own with the loss."""
    return f"loss ({signatures['loss'].split('(')[0]})" if figure == "loss" and "loss" in signatures else figure


def score_table(metrics: Mapping[str, float], signatures: Mapping[str, str]) -> Table:
    """Tabulate the overall figures, one column each for validation, test and test before training."""
    stages = [stage for stage in ("val", "test", "pretrained") if f"{stage}/loss" in metrics]
    table = Table("", *stages)
    for name in overall(metrics):
        table.add_row(shown_name(name, signatures), *[f"{metrics[f'{stage}/{name}']:.4f}" for stage in stages])
    return table


def label_table(
    metrics: Mapping[str, float], stage: str, label_names: Sequence[str], matrix: list[list[int]] | None
) -> Table | None:
    """Tabulate precision and recall of each label, its F1 where there is one, and its row of the confusion matrix."""
    if not label_names or len(label_names) > MOST_LABELS or f"{stage}/precision/{label_names[0]}" not in metrics:
        return None
    columns = [name for name in ("precision", "recall", "f1") if f"{stage}/{name}/{label_names[0]}" in metrics]
    table = Table(f"{stage}, by label", *columns, *[escape(f"→ {name}") for name in label_names if matrix])
    for index, name in enumerate(label_names):
        figures = [f"{metrics[f'{stage}/{column}/{name}']:.4f}" for column in columns]
        table.add_row(escape(name), *figures, *[str(count) for count in (matrix[index] if matrix else [])])
    return table


def print_results(folder: Path, metrics: Mapping[str, float], *, task: Task) -> None:
    """Print the scores of a run whose task has been tested, and the commands that use it."""
    console = Console()
    console.print(score_table(metrics, task.signatures()))
    if (by_label := label_table(metrics, "test", task.label_names, task.confusion_matrix())) is not None:
        console.print(by_label)
    console.print(
        f"trained {metrics['train/seconds']:.0f} s at {metrics['train/samples_per_second']:.1f} samples/s, "
        f"{metrics['parameters/trainable'] / 1e6:.1f}M of {metrics['parameters/total'] / 1e6:.1f}M parameters",
        highlight=False,
    )
    report, before = folder / "report.html", metrics.get("calibration/error_before")
    lines = [f"run: {folder}", *([f"report: {report}"] if report.is_file() else [])]
    if before is not None:
        temperature = metrics["calibration/temperature"]
        lines.insert(0, f"temperature {temperature:.2f}: without it calibration_error on test is {before:.4f}")
    lines += [f'next: lightune predict "{folder}" {task.predict_arguments}', f'      lightune evaluate "{folder}"']
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
