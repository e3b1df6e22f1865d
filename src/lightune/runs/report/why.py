"""Which words led the model astray."""

import numpy as np
from markupsafe import Markup

from lightune.runs.explain import LEGEND, explain, fragment
from lightune.runs.report.blocks import Html, Section
from lightune.runs.report.by_task import most_sure
from lightune.runs.report.figures import right
from lightune.runs.report.run_results import RunResults

SHOWN = 3  # rows: each takes fifty forward and backward passes or more


def why(material: RunResults) -> Section | None:
    """Words for and against answers that are wrong, and most sure of it; nothing where the model is not at hand."""
    correct = right(material.rows) if material.rows else None
    if material.task is None or material.data is None or correct is None:
        return None
    preprocessor = material.data.preprocessor
    wrong = [material.rows[index] for index in np.flatnonzero(~correct)]
    found = []
    for row in most_sure(wrong)[:SHOWN]:
        if (prepared := material.prepared(row)) is not None:
            texts = list(prepared.values())[: len(preprocessor.input_columns)]
            found += explain(material.task, preprocessor, texts)[:SHOWN]
    if not found:
        return None
    shown = [Html(Markup(fragment(one))) for one in found]
    return Section("Why it went wrong", [Html(Markup(f"<p>{LEGEND}</p>")), *shown])
