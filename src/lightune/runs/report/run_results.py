"""What a report is made of: a run's folder, and its data where that is at hand."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightune.runs.report.figures import summarize
from lightune.runs.report.predictions import Row, identify, read_rows
from lightune.runs.report.statistics import Summary
from lightune.runs.run import Run

if TYPE_CHECKING:
    from lightune.data import DataModule
    from lightune.tasks import Task
    from lightune.tasks.analysis.base import RowAnalysis

LONGEST = 600  # characters shown of a text
ANSWERS = ("answers", "references", "target", "reply")


@dataclass(frozen=True)
class RunResults:
    """A finished run.

    Args:
        folder: of the run.
        config: its settings by their whole names, what refers to another setting left out.
        command: that repeats it.
        environment: where it ran, by name.
        metrics: of ``metrics.json``.
        history: the lines of ``metrics.csv``, without empty cells.
        analysis: of the rows in ``predictions.jsonl``, as their task reads them.
        data: the run's data, or None.
        task: its model with the best weights, or None.
    """

    folder: Path
    config: Mapping[str, Any]
    command: str
    environment: Mapping[str, str]
    metrics: Mapping[str, float]
    history: list[dict[str, float]]
    analysis: "RowAnalysis"
    data: "DataModule | None"
    task: "Task | None"

    @property
    def name(self) -> str:
        """What the run is called: the end of its folder's path."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def rows(self) -> list[Row]:
        """The results of the test rows."""
        return self.analysis.rows

    def summary(self) -> Summary:
        """Return the figures of its rows."""
        return summarize(self.analysis, perplexity="test/perplexity" in self.metrics)

    def prepared(self, row: Row) -> dict[str, Any] | None:
        """Return a row as the preprocessor prepares it; None where the data is not at hand, or is another."""
        if self.data is None or row["row"] >= len(self.data.rows["test"]):
            return None
        found = self.data.rows["test"].select([row["row"]])
        return dict(found[0]) if identify(found) == [row["id"]] else None

    def texts(self, row: Row) -> list[tuple[str, str]]:
        """Return a row's texts by the names of their columns, the longest cut; none where the data is not at hand."""
        return [
            (name, _readable(value))
            for name, value in (self.prepared(row) or {}).items()
            if name not in ("labels", "tags", "answer_starts")
        ]


def read_material(
    folder: Path,
    *,
    config: Mapping[str, Any],
    command: str,
    task_class: "type[Task]",
    data: "DataModule | None" = None,
    task: "Task | None" = None,
) -> RunResults:
    """Read a run's folder.

    Args:
        folder: of the run.
        config: its settings by their whole names.
        command: that repeats it.
        task_class: reads its rows.
        data: its data, for the texts of rows.
        task: its model with the best weights, to explain errors.

    Raises:
        UserError: a file in it cannot be read.
    """
    run = Run(folder)
    environment = folder / "environment.json"
    return RunResults(
        folder=folder,
        config=config,
        command=command,
        environment=json.loads(environment.read_text(encoding="utf-8")) if environment.is_file() else {},
        metrics=json.loads(run.metrics.read_text(encoding="utf-8")),
        history=_read_history(folder / "metrics.csv"),
        analysis=task_class.analyse(
            read_rows(run.predictions), label_names=list(run.head().get("id2label", {}).values())
        ),
        data=data,
        task=task,
    )


def _read_history(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def _readable(value: Any) -> str:
    if isinstance(value, list):
        if value and isinstance(value[0], dict):  # turns of a dialogue
            text = "\n".join(f"{turn.get('role', '')}: {turn.get('content', '')}" for turn in value)
        else:
            text = (
                " ".join(map(str, value))
                if all(len(str(one).split()) == 1 for one in value)
                else " | ".join(map(str, value))
            )
    else:
        text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"
