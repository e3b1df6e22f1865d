"""Write a report's sections as a page."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lightune.common.files import atomic_file
from lightune.common.html_blocks import Section
from lightune.common.html_pages import render
from lightune.runs.report import by_task, general
from lightune.runs.report.compare import compare
from lightune.runs.report.run_results import RunResults

SECTIONS: tuple[Callable[[RunResults], Section | None], ...] = (
    general.scores,
    by_task.details,
    by_task.calibration,
    general.by_length,
    by_task.rows_to_look_at,
    by_task.why,
    general.learning_curves,
    general.health,
    general.how,
)


def write_page(path: Path, runs: Sequence[RunResults]) -> None:
    """Write the report of one run, or the comparison of several, or raise a UserError if they cannot be compared."""
    if len(runs) > 1:
        title, sections = f"{len(runs)} runs compared", compare(runs)
    else:
        title = runs[0].name
        sections = [section for make in SECTIONS if (section := make(runs[0])) is not None]
    with atomic_file(path) as file:
        file.write(render("runs/report/page.html", title=title, sections=sections))
