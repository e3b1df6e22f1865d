"""``lightune audit`` of a run and of a sweep: the rows it names are those of the person's file."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightune.commands import cli
from lightune.runs.report.predictions import read_rows
from lightune.sweeps.trial import Trial


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def reviews_of_run(finished_run: Path) -> list[dict[str, str]]:
    return table(finished_run.parent / "reviews.csv")


def copy(finished_run: Path, folder: Path, data: dict[str, Path]) -> Path:
    """Copy a run without its weights' neighbours, with other data."""
    shutil.copytree(finished_run, folder)
    saved = folder / ".hydra/config.yaml"
    cfg = OmegaConf.load(saved)
    cfg.data.path = {split: str(path) for split, path in data.items()}
    OmegaConf.save(cfg, saved)
    return folder


def test_a_run_judges_what_it_held_out(
    finished_run, reviews_of_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from datasets import Dataset

    from lightune.runs.report.predictions import identify

    ids = identify(Dataset.from_dict({"text": [row["text"] for row in reviews_of_run]}))
    sure = [row for row in read_rows(finished_run / "predictions.jsonl") if max(row["probabilities"]) > 0.9]
    flipped = [number for number, one in enumerate(ids, start=1) if one == sure[0]["id"]]
    for number in flipped:
        row = reviews_of_run[number - 1]
        row["label"] = {"positive": "negative", "negative": "positive"}[row["label"]]
    write(tmp_path / "flipped.csv", reviews_of_run)
    run = copy(finished_run, tmp_path / "run", {"train": tmp_path / "flipped.csv"})
    cli.main(["audit", str(run)])
    screen = capsys.readouterr().out
    assert "data.num_folds=5" in screen
    lines = [line for line in table(run / "audit/label_issues.csv") if line["is_issue"] == "True"]
    first = [line for line in lines if int(line["row"]) in flipped]
    assert len(first) == len(flipped)
    for line in first:
        row = reviews_of_run[int(line["row"]) - 1]
        assert (line["split"], line["text"], line["label"]) == ("train", row["text"], row["label"])
        assert line["suggested"] != line["label"]
        assert float(line["p_suggested"]) == pytest.approx(max(sure[0]["probabilities"]), abs=1e-4)
    page = (run / "audit/audit.html").read_text(encoding="utf-8")
    assert "Label issues" in page and "Near duplicates" in page and first[0]["text"] in page


def test_a_sweep_judges_every_row_by_the_mean_of_those_runs_that_held_it_out(
    finished_run, reviews_of_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sweep, data = tmp_path / "sweep", {"train": finished_run.parent / "reviews.csv"}
    for number in range(3):
        state = "finished" if number < 2 else "failed"
        Trial(
            folder=sweep / str(number),
            number=number,
            overrides=[f"data.fold={number}"],
            swept=["data.fold"],
            state=state,
            value=0.9,
        ).write()
        copied = copy(finished_run, tmp_path / str(number), data)
        shutil.copytree(copied, sweep / str(number), dirs_exist_ok=True)
    (sweep / "sweep.id").touch()
    # the second trial has held out all rows, and takes one for what it is not
    from datasets import Dataset

    from lightune.runs.report.predictions import identify

    ids = identify(Dataset.from_dict({"text": [row["text"] for row in reviews_of_run]}))
    first = {row["id"]: row["probabilities"] for row in read_rows(finished_run / "predictions.jsonl")}
    both = next(number for number, one in enumerate(ids) if one in first)
    held_out = first.keys() | {row["id"] for row in read_rows(finished_run / "validation_predictions.jsonl")}
    wrong = next(number for number, one in enumerate(ids) if one not in held_out)
    lines = []
    for number, one in enumerate(ids):
        sure = 0.98 if reviews_of_run[number]["label"] == "positive" else 0.02
        if number == wrong:
            sure = 0.0001 if sure > 0.5 else 0.9999
        probabilities = [1 - sure, sure]
        lines.append(
            {"row": number, "id": one, "loss": 0, "targets": 1, "length": 9, "true": 0, "probabilities": probabilities}
        )
    (sweep / "1/validation_predictions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (sweep / "1/predictions.jsonl").unlink()
    cli.main(["audit", str(sweep), "--out", str(tmp_path / "found")])
    assert "data.num_folds" not in capsys.readouterr().out
    found = table(tmp_path / "found/label_issues.csv")
    assert len(found) == len(reviews_of_run)
    assert int(found[0]["row"]) - 1 == wrong
    by_row = {int(line["row"]) - 1: line for line in found}
    assert by_row[wrong]["is_issue"] == "True"
    index = ["negative", "positive"].index(reviews_of_run[both]["label"])
    mean = (first[ids[both]][index] + lines[both]["probabilities"][index]) / 2
    assert float(by_row[both]["p_label"]) == pytest.approx(mean, abs=1e-4)


def test_near_duplicates_in_a_split_and_across(
    finished_run, reviews_of_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = "the first of many long texts about ships that sail from here to there and back"
    held_out = [{"text": text.replace("ships", "boats"), "label": "negative"}, {"text": "dull", "label": "negative"}]
    write(
        tmp_path / "train.csv",
        [*reviews_of_run, {"text": text.upper() + "!", "label": "positive"}, {"text": text, "label": "positive"}],
    )
    write(tmp_path / "test.csv", held_out)
    run = copy(finished_run, tmp_path / "run", {"train": tmp_path / "train.csv", "test": tmp_path / "test.csv"})
    cli.main(["audit", str(run)])
    found = [
        line
        for line in table(run / "audit/near_duplicates.csv")
        if "ships" in line["text"].lower() or "boats" in line["text"]
    ]
    assert [(line["split"], line["row"], line["labels_disagree"]) for line in found] == [
        ("train", "401", "True"), ("train", "402", "True"), ("test", "1", "True"),
    ]  # fmt: skip
    assert len({line["group"] for line in found}) == 1
    assert [float(line["similarity"]) for line in found][:2] == [1, 1]
    # no run has predicted them, but one of their labels is wrong
    issues = [line for line in table(run / "audit/label_issues.csv") if line["text"] == text]
    assert [(line["labels_disagree"], line["is_issue"], line["score"]) for line in issues] == [("True", "False", "")]
    test = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ test"))
    assert [cell.strip() for cell in test.split("│")[-3:-1]] == ["1", "0"]


def test_rows_to_label_are_those_it_is_least_sure_of_each_once(finished_run, reviews_of_run, tmp_path: Path):
    known = reviews_of_run[0]["text"]
    long = "good bad the film is a very story and with plot great awful"
    texts = ["good great fine lovely superb film", long, known, long + " and", "bad awful poor boring dire plot"]
    write(tmp_path / "new.csv", [{"text": text, "label": ""} for text in texts])
    cli.main(["audit", str(finished_run), "--unlabeled", str(tmp_path / "new.csv"), "--out", str(tmp_path / "found")])
    found = table(tmp_path / "found/to_label.csv")
    assert [line["text"] for line in found].count(known) == 0
    assert {line["line"] for line in found} in ({"2", "3", "6"}, {"2", "5", "6"})  # the header is the first
    margins = [float(line["margin"]) for line in found]
    assert margins == sorted(margins)
    assert all(float(line["p_predicted"]) >= 0.5 for line in found)
    predicted = {line["line"]: line["predicted"] for line in found}
    assert (predicted["2"], predicted["6"]) == ("positive", "negative")


def test_refusals(finished_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def refused(*arguments: object) -> str:
        with pytest.raises(SystemExit):
            cli.main(["audit", *map(str, arguments)])
        return capsys.readouterr().err

    assert "exists already" in refused(finished_run, "--out", tmp_path)
    assert "There is no file" in refused(finished_run, "--unlabeled", tmp_path / "none.csv")
    run = copy(finished_run, tmp_path / "run", {"train": finished_run.parent / "reviews.csv"})
    several = read_rows(run / "predictions.jsonl")
    rows = [row | {"true": [0, 1], "predicted": [0, 1]} for row in several]
    for name in ("predictions.jsonl", "validation_predictions.jsonl"):
        (run / name).write_text("\n".join(map(json.dumps, rows)))
    assert "one label of several" in refused(run)
    for name in ("predictions.jsonl", "validation_predictions.jsonl"):
        (run / name).unlink()
    assert "finished run" in refused(run)
    Trial(folder=tmp_path / "sweep/0", number=0, overrides=[], swept=[], state="failed").write()
    (tmp_path / "sweep/sweep.id").touch()
    assert "lightune resume" in refused(tmp_path / "sweep")
