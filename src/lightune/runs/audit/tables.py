"""The tables of an audit: what to look at first stands first."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lightune.common.errors import UserError
from lightune.common.files import atomic_file
from lightune.common.html_blocks import Rows, Section, Text
from lightune.common.html_pages import render
from lightune.data.sources.stream import InputRow
from lightune.data.sources.stream_files import stream_rows
from lightune.runs.audit.near_duplicates import find_near_duplicates
from lightune.runs.ensemble import rebuild_together
from lightune.runs.report.run_results import readable

log = logging.getLogger(__name__)

SHOWN = 50  # lines of a table on the page


def label_issues(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose label can be judged, worst first; at the top those that only their near-duplicates contradict."""
    kept = rows[rows["score"].notna() | rows["labels_disagree"]].drop(columns=["group", "similarity"])
    return kept.sort_values("score", kind="stable", na_position="first")


def near_duplicates(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of groups, those groups first whose labels disagree."""
    kept = rows[rows["group"] > 0].drop(columns=["is_issue", "suggested", "p_label", "p_suggested", "score"])
    return kept.sort_values(["labels_disagree", "group"], ascending=[False, True], kind="stable")


def counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Count by split the rows, those held out by a run, label issues, and rows with a near-duplicate in each split."""
    by_split = rows.assign(held_out=rows["score"].notna()).groupby("split", sort=False)
    table = by_split.agg(rows=("row", "size"), held_out=("held_out", "sum"), label_issues=("is_issue", "sum"))
    of_group = pd.crosstab(rows["group"], rows["split"]).drop(index=0, errors="ignore")
    for split in table.index:
        # a row that is alone in its split has none there
        table[f"near_{split}"] = [of_group[other][of_group[split] > (other == split)].sum() for other in table.index]
    return table


def to_label(path: Path, folders: Sequence[Path], labelled: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a file, those first that the runs are least sure of, but none nearly the same as one above or a labelled one.

    ``margin`` is the difference of the two highest probabilities, of the runs' mean; ``labelled`` are texts. Source:
    Scheffer, Decomain and Wrobel (2001), Active Hidden Markov Models for Information Extraction.

    Raises:
        UserError: the file cannot be read, or no row has the runs' columns.
    """
    found = [*stream_rows(path, [*labelled])]
    rows = [row for row in found if isinstance(row, InputRow)]
    if not rows:
        raise UserError(f"{path}: no row has a text.")
    if left_out := len(found) - len(rows):
        log.warning(f"{path}: {left_out:,} rows are left out, which hold no text; lightune predict names them")
    texts = pd.DataFrame([row.values for row in rows], dtype=str)
    predicted = rebuild_together(folders).predict(texts.to_dict("records"))
    probabilities = pd.DataFrame([row["probabilities"] for row in predicted])
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    figures = {"predicted": probabilities.idxmax(axis=1), "p_predicted": first, "margin": first - second}
    table = pd.DataFrame({"line": [row.line for row in rows], **figures}).join(texts)
    table = table.sort_values("margin", kind="stable")
    every = pd.concat([labelled, table[[*labelled]]]).to_numpy()
    group = pd.Series(find_near_duplicates(map("\n".join, every))[0])
    is_repeated = ((group > 0) & group.duplicated())[len(labelled) :].to_numpy()
    return table[~is_repeated]


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame], *, title: str, text_columns: Sequence[str]) -> None:
    """Write each table as ``NAME.csv``, and their first lines as ``audit.html``; UserError for a folder that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            with atomic_file(folder / f"{name}.csv") as file:
                table.to_csv(file, index=False, float_format="%.4f", lineterminator="\n")
        sections = [_section(name, table, text_columns) for name, table in tables.items()]
        with atomic_file(folder / "audit.html") as file:
            file.write(render("runs/report/page.html", title=title, sections=sections))
    except OSError as error:
        raise UserError(f"Cannot write {folder}: {error.strerror}.") from error


def _section(name: str, table: pd.DataFrame, text_columns: Sequence[str]) -> Section:
    rows = []
    for line in table.head(SHOWN).to_dict("records"):
        texts = [(column, readable(line.pop(column))) for column in text_columns]
        values = (f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in line.items())
        rows.append((" · ".join(values), texts))
    title = name.replace("_", " ").capitalize()
    return Section(title, [Text(f"{len(rows)} of the {len(table):,} lines of {name}.csv"), Rows(rows)])
