"""The rows of a run's data, judged by what models that did not train on them predict."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lightune.common.errors import UserError
from lightune.data.quality import inputs_of
from lightune.runs.audit.near_duplicates import find_near_duplicates
from lightune.runs.load_run import check_labels, make_run_data
from lightune.runs.report.predictions import identify, read_rows
from lightune.runs.run_folder import Run


def judge_rows(folders: Sequence[Path]) -> tuple[pd.DataFrame, list[str]]:
    """Judge all rows of the first run's data by the mean prediction of those runs that validated or tested on a row.

    Returns:
        the rows' verdicts: ``split``, ``row`` (its number in the split as the file has it, from 1), ``label``, the columns
        of ``find_label_issues``, ``group`` and ``similarity`` as ``find_near_duplicates`` returns them, and whether
        ``labels_disagree`` in the group, and the texts; and the names of the columns of texts.

    Raises:
        UserError: the runs do not give each text one label of several, or their data is not there as it was.
    """
    predicted: dict[str, list[list[float]]] = defaultdict(list)
    for run in map(Run, folders):
        rows = read_rows(run.validation_predictions) + read_rows(run.predictions)
        if not rows or "probabilities" not in rows[0] or not isinstance(rows[0]["true"], int):
            raise UserError(f"{run.folder}: an audit needs a finished run that gives each text one label of several.")
        for row in rows:
            predicted[row["id"]].append(row["probabilities"])
    data = make_run_data(folders[0])
    splits = data.read_splits()
    for run in map(Run, folders):
        check_labels(data, trained_on=run.head()["id2label"])
    names = np.array([*data.head["id2label"].values()])
    ids = [one for rows in splits.values() for one in identify(inputs_of(rows, data.preprocessor))]
    probabilities = np.array([np.mean(predicted.get(one, [np.full(len(names), np.nan)]), axis=0) for one in ids])
    if np.isnan(probabilities).all():
        raise UserError(f"{data.path} has changed since the run: it holds none of the texts that were held out.")
    tables = [rows.to_pandas().assign(split=split, row=np.arange(1, len(rows) + 1)) for split, rows in splits.items()]
    table = pd.concat(tables, ignore_index=True)
    labels, columns = table["labels"], data.preprocessor.input_columns
    texts = table[columns].astype(str)
    issues = find_label_issues(labels.to_numpy(), probabilities)
    issues["suggested"] = np.where(issues["score"].isna(), "", names[issues["suggested"]])
    group, similarity = find_near_duplicates(map("\n".join, texts.to_numpy()))
    disagree = (group > 0) & (labels.groupby(group).transform("nunique") > 1)
    verdicts = table[["split", "row"]].assign(label=names[labels]).join(issues)
    return verdicts.assign(group=group, similarity=similarity, labels_disagree=disagree).join(texts), columns


def find_label_issues(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Compare labels (rows,) with the probabilities (rows, labels) of models that did not train on these rows.

    A row counts for a label where its probability reaches the mean of the rows that bear the label. A label looks wrong
    where a row counts for others, and the most probable of those it counts for is not its own: the off-diagonal of the
    confident joint. Source: Northcutt, Jiang and Chuang (2021), Confident Learning.

    Returns:
        for each row ``is_issue``, ``suggested``: the most probable other label, the probabilities ``p_label`` and
        ``p_suggested``, and ``score``: ``p_label`` by its mean over the rows that bear the label; the lower, the more
        wrong the label looks. Rows whose probabilities are NaN are no issues, and their score is NaN.
    """
    rows = np.arange(len(labels))
    given = probabilities[rows, labels]
    thresholds = pd.Series(given).groupby(labels).mean().reindex(range(probabilities.shape[1])).to_numpy()
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    is_issue = confident.any(axis=1) & (confident.argmax(axis=1) != labels)
    others = probabilities.copy()
    others[rows, labels] = -1
    figures = {"p_label": given, "p_suggested": others.max(axis=1), "score": given / thresholds[labels]}
    return pd.DataFrame({"is_issue": is_issue, "suggested": others.argmax(axis=1), **figures})
