"""``predictions.jsonl``: the best checkpoint's prediction for each test row, without the row's texts.

Those of the validation rows are in ``validation_predictions.jsonl``.
Each line is one of the task's ``row_results``, with ``row``, its number in the split, and ``id``, a hash of its inputs:
it shows that two runs were tested on the same rows, and finds a row's texts in the data again.
"""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from datasets import Dataset

from lightune.common.errors import UserError
from lightune.common.files import atomic_file
from lightune.data import DataModule
from lightune.data.quality import inputs_of

Row = dict[str, Any]
REQUIRED = {"row", "id", "loss", "targets", "length"}


def identify(inputs: Dataset) -> list[str]:
    """Return a hash of each row's inputs, the same in every process and whatever the columns are called."""
    hashes = []
    for batch in inputs.iter(batch_size=1000):
        for values in zip(*batch.values(), strict=True):
            hashes.append(blake2b(json.dumps(values, default=str).encode(), digest_size=8).hexdigest())
    return hashes


def write_rows(path: Path, results: list[Row], *, data: DataModule, split: str = "test") -> None:
    """Write the file atomically; write none where the task has no results of rows.

    ``results`` are the task's ``all_rows``, of that split of ``data``.
    """
    if not results:
        return
    ids, lengths = identify(inputs_of(data.rows[split], data.preprocessor)), data.lengths(split)
    with atomic_file(path) as file:
        for result in results:
            number = result["row"]
            line = {"row": number, "id": ids[number], "length": int(lengths[number])} | result
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_rows(path: Path) -> list[Row]:
    """Read the file in the order of the split, empty where there is none; raise a UserError if it is another's."""
    if not path.is_file():
        return []
    rows: list[Row] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not row.keys() >= REQUIRED:
            raise UserError(
                f"{path}, line {number}: expected an object with {', '.join(sorted(REQUIRED))}.\n"
                f"The file is damaged: remove it, and lightune report {path.parent} writes it again."
            )
        rows.append(row)
    return sorted(rows, key=lambda row: row["row"])
