"""The results of a run, read from its folder, and its data where that is available."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightune.config import settings_and_command
from lightune.data import DataModule
from lightune.data.quality import inputs_of
from lightune.runs.report.predictions import Row, identify, read_rows
from lightune.runs.report.statistics import Figures, Summary
from lightune.runs.run_folder import Run
from lightune.tasks import Task
from lightune.tasks.analysis.base import RowAnalysis, ratio

# characters of a text in a report
MAX_CHARACTERS = 600


@dataclass(frozen=True)
class RunResults:
    """A finished run: its ``environment.json``, ``metrics.json``, ``signatures.json``, and ``metrics.csv`` without empty cells.

    ``config`` has its settings by their full names, without those that refer to another; ``command`` repeats it;
    ``pretrained`` has texts that the pretrained model wrote, by number of the test row; ``analysis`` is of the rows in ``predictions.jsonl``; ``task`` has the best weights.
    """

    folder: Path
    config: Mapping[str, Any]
    command: str
    environment: Mapping[str, str]
    metrics: Mapping[str, float]
    signatures: Mapping[str, str]
    history: list[dict[str, float]]
    pretrained: Mapping[str, str]
    analysis: RowAnalysis
    data: DataModule | None
    task: Task | None

    @property
    def name(self) -> str:
        """The last two parts of the folder's path."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def rows(self) -> list[Row]:
        """The results of the test rows."""
        return self.analysis.rows

    def summary(self) -> Summary:
        """Return the figures of all test rows."""
        return summarize(self.analysis, perplexity="test/perplexity" in self.metrics)

    def curves(self, names: list[str]) -> dict[str, tuple[list[float], list[float]]]:
        """Return the steps and values of those metrics that the run recorded."""
        found = {name: [row for row in self.history if name in row] for name in names}
        return {
            name: ([row["step"] for row in rows], [row[name] for row in rows]) for name, rows in found.items() if rows
        }

    def prepared(self, row: Row) -> dict[str, Any] | None:
        """Return a row as the preprocessor prepares it; None where the data is missing or has changed."""
        if self.data is None or row["row"] >= len(self.data.rows["test"]):
            return None
        rows = self.data.rows["test"].select([row["row"]])
        return dict(rows[0]) if identify(inputs_of(rows, self.data.preprocessor)) == [row["id"]] else None

    def texts(self, row: Row) -> list[tuple[str, str]]:
        """Return a row's texts with their column names, long ones cut; none where the data is missing."""
        return [
            (name, readable(value))
            for name, value in (self.prepared(row) or {}).items()
            if name not in ("labels", "tags", "answer_starts", "truncated")
        ]


def summarize(analysis: RowAnalysis, *, perplexity: bool) -> Summary:
    """Return the loss and the figures of a task as sums over rows, named as in ``metrics.json`` after ``test/``."""
    targets = analysis.column("targets").astype(float)
    statistics = np.column_stack([analysis.column("loss") * targets, targets, analysis.statistics()])

    def figures(sums: np.ndarray) -> Figures:
        loss = ratio(sums[:, 0], sums[:, 1])
        return {"loss": loss} | ({"perplexity": np.exp(loss)} if perplexity else {}) | analysis.figures(sums[:, 2:])

    return Summary(statistics, figures)


def read_run_results(
    folder: Path, *, task_class: type[Task], data: DataModule | None = None, task: Task | None = None
) -> RunResults:
    """Read a run's folder; ``task_class`` analyses its rows, the rest is as in ``RunResults``.

    Raises:
        UserError: a file in it cannot be read.
    """
    run = Run(folder)
    config, command = settings_and_command(folder)
    return RunResults(
        folder=folder,
        config=config,
        command=command,
        environment=json.loads(run.environment.read_text(encoding="utf-8")) if run.environment.is_file() else {},
        metrics=json.loads(run.metrics.read_text(encoding="utf-8")),
        signatures=json.loads(run.signatures.read_text(encoding="utf-8")) if run.signatures.is_file() else {},
        pretrained=json.loads(run.pretrained.read_text(encoding="utf-8"))["texts"] if run.pretrained.is_file() else {},
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


def readable(value: Any) -> str:
    """Return a text, list of words or dialogue as one text, a long one cut."""
    if not isinstance(value, list):
        text = str(value)
    elif value and isinstance(value[0], dict):
        # turns of a dialogue
        text = "\n".join(f"{turn.get('role', '')}: {turn.get('content', '')}" for turn in value)
    else:
        are_words = all(len(str(item).split()) == 1 for item in value)
        text = (" " if are_words else " | ").join(map(str, value))
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} … ({len(text):,} characters)"
