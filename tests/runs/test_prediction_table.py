"""Lines of JSON become tables that pandas reads, whatever the rows hold."""

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from lightune.runs import prediction_table
from lightune.runs.prediction_table import write_table


@pytest.fixture(autouse=True)
def _two_rows_a_chunk(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prediction_table, "CHUNK_ROWS", 2)


def table(tmp_path: Path, ending: str, *rows: dict[str, Any]) -> pandas.DataFrame:
    (tmp_path / "part").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / f"out.{ending}"
    write_table(tmp_path / "part", out)
    return pandas.read_parquet(out) if ending == "parquet" else pandas.read_csv(out)


def test_csv_has_a_column_for_each_part_that_all_rows_have(tmp_path: Path):
    found = table(
        tmp_path, "csv",
        {"same": {"a": 1, "b": [2]}, "differs": {"a": 1}, "mixed": {"a": 1}, "taken": {"a": 1}, "taken.a": 5, "list": []},
        {"same": None, "differs": {"b": 1}, "mixed": 2, "taken": {"a": 1}, "taken.a": 6, "list": [{"é": 1}]},
        {"same": {"a": 3, "b": []}, "later": "x"},
    )  # fmt: skip
    assert [*found] == ["same.a", "same.b", "differs", "mixed", "taken", "taken.a", "list", "later"]
    assert found["same.a"].tolist() == pytest.approx([1, float("nan"), 3], nan_ok=True)
    assert found["same.b"].tolist()[::2] == ["[2]", "[]"]
    assert found["differs"].tolist()[:2] == ['{"a": 1}', '{"b": 1}']
    assert found["mixed"].tolist()[:2] == ['{"a": 1}', "2"]
    assert found["list"].tolist()[:2] == ["[]", '[{"é": 1}]']
    assert found["later"].tolist()[2] == "x"


def test_parquet_keeps_what_has_one_type(tmp_path: Path):
    rows = [
        {"entities": [], "value": 1, "parts": {"a": 1}, "day": "2020-01-31", "mixed": 1, "big": 2**70},
        {"entities": [], "value": 2, "parts": {"a": 2}, "day": None, "mixed": 2, "big": 1},
        {"entities": [{"text": "Oslo", "start": 0}], "value": 0.5, "parts": {"a": 3}, "day": "NA", "mixed": "x"},
    ]
    found = table(tmp_path, "parquet", *rows)
    assert [[*cell] for cell in found["entities"]] == [[], [], [{"text": "Oslo", "start": 0}]]
    assert found["value"].tolist() == [1.0, 2.0, 0.5]
    assert found["parts"].tolist() == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert found["day"].tolist()[::2] == ["2020-01-31", "NA"] and found["day"].isna()[1]
    assert found["mixed"].tolist() == ["1", "2", "x"]
    assert found["big"].tolist()[:2] == [str(2**70), "1"]
