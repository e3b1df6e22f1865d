"""``report.html`` of every task, and of runs compared."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import write_reviews

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.runs.report.predictions import read_rows
from lightune.runs.score_table import OVERALL
from lightune.tasks.metrics.generation import Degeneration

LOADS = re.compile(r"""<(?:script|link|img|iframe|object|embed|source|audio|video)\b|\bsrc\s*=|url\(|@import""", re.I)
EXACT = {*OVERALL} - {"spearman", "pearson", "matthews_corrcoef", "distinct1", "distinct2", *Degeneration.names}
EVIL = '<script>alert("good")</script> great film'


def check(folder: Path, metrics: dict[str, float]) -> str:
    """Look at what every report must be, and return it."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    assert not LOADS.search(page.replace("url(#", "").replace('url("#', ""))
    assert not re.findall(r"""href=["'](?!#)""", page)
    cells = re.findall(
        r"<tr><td[^>]*>(\w+)</td><td[^>]*>([-\d.]*)</td><td[^>]*>([-\d.]+)</td><td[^>]*>([^<]*)</td>", page
    )
    shown = {name: (value, between) for name, _, value, between in cells}
    for name in OVERALL:
        if f"test/{name}" in metrics:
            assert shown[name][0] == f"{metrics[f'test/{name}']:.4f}"
            if name in EXACT:  # computed again from rows it is the same, or there would be no interval
                low, high = map(float, shown[name][1].split(" to "))
                assert low <= high
    return page


def test_text_classification(train_here, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = write_reviews(tmp_path / "reviews.csv", 200)
    held_out = tmp_path / "test.csv"
    with write_reviews(held_out, 30, seed=1).open("a", newline="") as file:
        csv.writer(file).writerow([EVIL, "negative"])
    metrics = train_here(
        "report=true",
        "data=local",
        f"data.path.train={data}",
        f"data.path.test={held_out}",
        "trainer.max_epochs=1",
    )
    page = check(tmp_path / "run", metrics)
    assert "No report was written" not in caplog.text
    for title in ("Scores", "Calibration", "Rows to look at", "Learning curves", "Data", "How it was made"):
        assert f">{title}</h2>" in page
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(31))
    accuracy = sum(row["true"] == row["predicted"] for row in rows) / len(rows)
    assert ("Why it went wrong" in page) == (accuracy < 1)
    assert accuracy == pytest.approx(metrics["test/accuracy"])
    assert "alert" not in (tmp_path / "run" / "predictions.jsonl").read_text()  # it holds no texts
    rows_of_validation = read_rows(tmp_path / "run" / "validation_predictions.jsonl")
    right = [row["true"] == row["predicted"] for row in rows_of_validation]
    assert sum(right) / len(right) == pytest.approx(metrics["val/accuracy"])
    # shown whatever was predicted: make that row the surest error
    rows[-1] |= {"true": 0, "predicted": 1, "probabilities": [0.0, 1.0]}
    (tmp_path / "run" / "predictions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cli.main(["report", str(tmp_path / "run")])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "&lt;script&gt;alert" in page
    assert "<script" not in page


@pytest.mark.parametrize("kind", ["regression", "labels"])
def test_other_labels(train_here, tmp_path: Path, kind: str):
    data = write_reviews(tmp_path / "reviews.csv", 120)
    rows = [
        {
            "text": row["text"],
            "label": float(len(row["text"])) / 30
            if kind == "regression"
            else [row["label"], "film"][: 1 + len(row["text"]) % 2],
        }
        for row in csv.DictReader(data.open())
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    check(tmp_path / "run", train_here("report=true", "data=local", f"data.path={path}", "trainer.max_epochs=1"))


def test_named_entities(train_here, tmp_path: Path):
    rows = [{"tokens": ["the", w, "film"] * (1 + i % 3), "tags": ["O", "B-PRAISE" if w == "good" else "B-BLAME", "O"] * (1 + i % 3)}
            for i, w in enumerate(["good", "bad"] * 40)]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    metrics = train_here("report=true",
        "task=token_classification", "data=local", f"data.path={path}", "data.tokens_column=tokens",
        "data.label_column=tags", "data.doc_stride=8", "optimizer.lr=1e-2", "trainer.max_epochs=1",
    )  # fmt: skip
    page = check(tmp_path / "run", metrics)
    assert "PRAISE" in page


def test_question_answering(train_here, tmp_path: Path):
    rows = [
        {
            "question": "film",
            "context": f"{i} the film is {w} a plot",
            "answers": {"text": [w], "answer_start": [len(f"{i} the film is ")]},
        }
        for i, w in enumerate(["good", "bad", "fine"] * 20)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    metrics = train_here(
        "report=true",
        "task=question_answering",
        "data=local",
        f"data.path={path}",
        "data.doc_stride=8",
        "trainer.max_epochs=1",
    )
    page = check(tmp_path / "run", metrics)
    assert "mean F1" in page


@pytest.mark.parametrize("task", ["translation", "summarization", "dialogue"])
def test_generated_texts(train_here, tmp_path: Path, task: str):
    words = ["good", "bad", "fine", "poor"]
    if task == "dialogue":
        rows = [
            {"messages": [{"role": "user", "content": f"{w} film {i}"}, {"role": "assistant", "content": w}]}
            for i, w in enumerate(words * 10)
        ]
        columns = []
    else:
        rows = [{"en": f"{w} film {i}", "de": f"the {w} story"} for i, w in enumerate(words * 10)]
        columns = ["data.source_column=en", "data.target_column=de", "data.max_target_length=8"]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    metrics = train_here("report=true",
        f"task={task}", "data=local", f"data.path={path}", *columns, "task.generation.max_new_tokens=6",
        "optimizer.lr=1e-2", "trainer.max_epochs=1",
    )  # fmt: skip
    page = check(tmp_path / "run", metrics)
    assert "Generated texts" in page


def test_a_report_that_fails_loses_no_run(train_here, reviews: Path, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr("lightune.runs.report.write_rows", lambda *_, **__: 1 / 0)
    assert train_here("report=true", "data=local", f"data.path={reviews}", "trainer.max_epochs=1")["test/accuracy"] >= 0
    assert "No report was written (ZeroDivisionError" in caplog.text


def test_runs_compared(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    shutil.copytree(finished_run, other, ignore=shutil.ignore_patterns("checkpoints"))
    rows = [json.loads(line) for line in (other / "predictions.jsonl").read_text().splitlines()]
    for row in rows[:20]:
        row["predicted"] = 1 - row["true"]
    (other / "predictions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cli.main(["report", str(finished_run), str(other)])
    page = (tmp_path / "comparison.html").read_text()
    assert "B is worse than A, and the difference is real" in page
    assert "exact McNemar test" in page
    rows[3]["id"] = "another row"
    (other / "predictions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(SystemExit):
        cli.main(["report", str(finished_run), str(other), "--out", str(tmp_path / "never.html")])
    assert not (tmp_path / "never.html").exists()


def test_other_rows_are_told_apart(finished_run: Path):
    from dataclasses import replace

    from lightune.runs.report.compare import compare
    from lightune.runs.report.run_results import read_run_results
    from lightune.tasks import TextClassification

    one = read_run_results(finished_run, task_class=TextClassification)
    other = replace(one, analysis=TextClassification.analyse(one.rows[1:], one.analysis.label_names))
    with pytest.raises(UserError, match=r"not measured on the same rows: 60 and 59 test rows, .* in common"):
        compare([one, other])
