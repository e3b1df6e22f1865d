"""The page: sections in a template that escapes what they hold."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from lightune.common.blocks import Section
from lightune.common.files import atomic_file
from lightune.runs.explain import STYLE
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
    """Write the report of a run, or the comparison of several, whole or not at all.

    Raises:
        UserError: the runs cannot be compared.
    """
    if len(runs) > 1:
        title, sections = f"{len(runs)} runs compared", compare(runs)
    else:
        title = runs[0].name
        sections = [section for make in SECTIONS if (section := make(runs[0])) is not None]
    environment = Environment(
        loader=PackageLoader("lightune.runs.report", "."), autoescape=True, trim_blocks=True
    )
    page = environment.get_template("page.html").render(title=title, sections=sections, style=Markup(STYLE))
    with atomic_file(path) as file:
        file.write(page)
