"""Sections that the task's analysis of its test rows fills."""

from contextlib import suppress

from markupsafe import Markup

from lightune.common.errors import UserError
from lightune.common.html_blocks import Block, Html, Plots, Rows, Scatter, Section, Text
from lightune.runs.explain import LEGEND, explain, fragment
from lightune.runs.report import plots
from lightune.runs.report.run_results import RunResults
from lightune.runs.report.statistics import reliability
from lightune.tasks.batch import RowResult

BEFORE_AND_AFTER = 8  # rows
EXPLAINED = 3  # rows: each takes fifty forward and backward passes or more


def details(results: RunResults) -> Section | None:
    """What a task's errors are made of."""
    blocks = results.analysis.details() if results.rows else []
    return Section("Where it goes wrong", [_drawn(block) for block in blocks]) if blocks else None


def calibration(results: RunResults) -> Section | None:
    """Whether rows of 90 % confidence are right in 90 of 100 cases, where predictions have a confidence."""
    confidence, correct = (results.analysis.confidence(), results.analysis.correct()) if results.rows else (None, None)
    if confidence is None or correct is None:
        return None
    bins = reliability(confidence, correct)
    towards = "sure of itself" if confidence.mean() > correct.mean() else "unsure of itself"
    text = (
        f"Expected calibration error: {bins.error:.4f} (15 bins of equal width). Mean confidence {confidence.mean():.4f}, "
        f"accuracy {correct.mean():.4f}: on the whole it is too {towards}. A larger dot holds more rows; below the dashed line it is "
        "wrong more often than it says."
    )
    plot = plots.reliability(bins.confidence, bins.accuracy, bins.count)
    return Section("Calibration", [Plots([("reliability on test", plot)]), Text(text)])


def rows_to_look_at(results: RunResults) -> Section | None:
    """Rows that are wrong with most confidence, those it was least sure of, or texts from best to worst."""
    if not results.rows:
        return None
    blocks: list[Block] = []
    groups = results.analysis.groups()
    if compared := [row for row in results.rows if str(row["row"]) in results.pretrained]:
        groups = [("Before fine-tuning and after:", compared[:: -(-len(compared) // BEFORE_AND_AFTER)]), *groups]
    for heading, rows in groups:
        blocks += [Text(heading), Rows([_with_texts(results, row) for row in rows])]
    return Section(results.analysis.title, blocks)


def why(results: RunResults) -> Section | None:
    """Words for and against the surest wrong predictions; None where the model or the data is not available."""
    task, data = results.task, results.data
    if task is None or data is None or not task.is_explainable:
        return None
    explanations = []
    for row in results.analysis.wrong()[:EXPLAINED]:
        if (prepared := results.prepared(row)) is not None:
            texts = list(prepared.values())[: len(data.preprocessor.input_columns)]
            # a text may be too long to be explained
            with suppress(UserError):
                explanations += explain(task, data.preprocessor, texts)[:EXPLAINED]
    if not explanations:
        return None
    fragments = [Html(Markup(fragment(explanation))) for explanation in explanations]
    return Section("Why it went wrong", [Html(Markup(f"<p>{LEGEND}</p>")), *fragments])


def _with_texts(results: RunResults, row: RowResult) -> tuple[str, list[tuple[str, str]]]:
    parts = [f"row {row['row'] + 1}", f"loss {row['loss']:.3f}", results.analysis.describe(row)]
    prediction = [("predicted", row["predicted"])] if isinstance(row.get("predicted"), str) else []
    before = results.pretrained.get(str(row["row"]))
    pretrained = [("pretrained", before)] if before is not None else []
    return " · ".join(filter(None, parts)), [*results.texts(row), *pretrained, *prediction]


def _drawn(block: Block) -> Block:
    if not isinstance(block, Scatter):
        return block
    return Plots([(block.title, plots.scatter(block.x_values, block.y_values, x=block.x, y=block.y))])
