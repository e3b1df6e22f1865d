"""A cross-validation from the command line: folds, one file of predictions, and the models of the folds as one."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TRAIN, command, write_reviews

from lightune.commands import cli
from lightune.data.quality import inputs_of
from lightune.runs.load_run import load, rebuild_data
from lightune.runs.report.predictions import identify, read_rows

FOLDS = 3


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> list[str]:
    data = write_reviews(tmp_path_factory.mktemp("folds") / "reviews.csv", 90)
    return [
        *("data=local", f"data.path={data}", "data.max_length=16", "data.batch_size=8", "trainer=cpu", "report=false"),
        *(f"model.pretrained_model_name_or_path='{tiny_bert}'", "trainer.precision=32-true", "trainer.max_steps=4"),
    ]


@pytest.fixture(scope="module")
def sweep(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds") / "a sweep"
    folds = ",".join(map(str, range(FOLDS)))
    done = command(
        TRAIN, "-m", *arguments, f"data.num_folds={FOLDS}", f"data.fold={folds}", f"hydra.sweep.dir='{folder}'"
    )
    assert done.returncode == 0, done.stderr
    return folder


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_sweep_ends_with_a_prediction_for_each_row_but_the_tests(sweep: Path):
    found = rows(sweep / "out_of_fold.jsonl")
    assert (
        len({(row["fold"], row["row"]) for row in found}) == len(found) == 90 - len(rows(sweep / "0/predictions.jsonl"))
    )
    for fold in range(FOLDS):
        of_fold = [row for row in found if row["fold"] == fold]
        kept = read_rows(sweep / str(fold) / "validation_predictions.jsonl")
        assert of_fold == [row | {"fold": fold} for row in kept]
        data = rebuild_data(sweep / str(fold))
        assert [row["id"] for row in of_fold] == identify(inputs_of(data.rows["validation"], data.preprocessor))


def test_the_best_setting_is_repeated_on_all_rows(sweep: Path, capsys: pytest.CaptureFixture[str]):
    (sweep / "out_of_fold.jsonl").unlink()
    cli.main(["leaderboard", str(sweep)])
    printed = capsys.readouterr().out
    assert re.search(r"│ 3 +│ 0, 1, 2 +│", printed)
    assert f"best: {sweep}\n" in printed
    again = next(line for line in printed.splitlines() if line.startswith("again: "))
    assert "fold" not in again.replace(str(sweep), "").replace("/folds", "")
    assert (sweep / "out_of_fold.jsonl").is_file()


def test_the_folds_answer_together(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    texts = ["a superb and great film", "the boring and awful plot"]
    told = [word for text in texts for word in ("--text", text)]
    cli.main(["predict", str(sweep), *told])
    together = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    members = [load(sweep / str(fold)).predict(texts) for fold in range(FOLDS)]
    for number, row in enumerate(together):
        for name, value in row["probabilities"].items():
            alone = [of_member[number]["probabilities"][name] for of_member in members]
            assert value == pytest.approx(sum(alone) / FOLDS, abs=1e-6)
    cli.main(["predict", *(str(sweep / str(fold)) for fold in range(FOLDS)), *told])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == together
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    cli.main(["predict", str(sweep), "--file", str(tmp_path / "texts.txt"), "--out", str(tmp_path / "out.jsonl")])
    assert [row["label"] for row in rows(tmp_path / "out.jsonl")] == [row["label"] for row in together]


def test_folds_are_measured_together_on_the_test_alone(sweep: Path, capsys: pytest.CaptureFixture[str]):
    cli.main(["evaluate", str(sweep)])
    printed = capsys.readouterr().out
    assert "test" in printed and "validation" not in printed
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(sweep), "--split", "validation"])
    message = capsys.readouterr().err
    assert "do not hold out the same validation rows" in message
    assert len(message.splitlines()) <= 5


def test_a_student_learns_from_the_folds(sweep: Path, train_here: Callable[..., Any], tmp_path: Path):
    data = write_reviews(tmp_path / "more.csv", 60, seed=1)
    options = ["data=local", f"data.path={data}", "data.batch_size=8", "trainer.max_steps=2"]
    for teacher in (f"'{sweep}'", f"['{sweep / '0'}','{sweep / '2'}']"):
        assert 0 <= train_here(*options, f"distill.teacher={teacher}", "distill.alpha=1")["test/accuracy"] <= 1


@pytest.mark.parametrize("option", ["data.num_folds=3 data.fold=0,1,2", "data.split_seed=0,1"])
def test_a_search_does_not_choose_the_easiest_rows(arguments: list[str], tmp_path: Path, option: str):
    pytest.importorskip("optuna")
    refused: subprocess.CompletedProcess[str] = command(
        TRAIN, "-m", "sweep=optuna", *arguments, *option.split(), f"hydra.sweep.dir='{tmp_path / 'search'}'"
    )
    assert refused.returncode == 1
    assert "a search would choose the rows that are easiest to predict" in refused.stderr
    assert not (tmp_path / "search" / "0").exists()
