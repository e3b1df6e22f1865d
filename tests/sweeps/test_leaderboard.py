"""A leaderboard is read from folders alone, ranks by validation, and escapes text from files."""

import csv
import json
import shlex
from pathlib import Path

import pytest

from lightune.commands.cli import main
from lightune.runs.members import runs_of
from lightune.sweeps.leaderboard import read_leaderboard, write_out_of_fold
from lightune.sweeps.trial import Trial


def trial(sweep: Path, number: int, *overrides: str, state: str = "finished", test: float = 0.5, **kept):
    result = Trial(
        folder=sweep / str(number),
        number=number,
        overrides=["data=imdb", "sweep=optuna", "sweep.n_trials=8", *overrides],
        swept=["optimizer.lr", "seed"],
        state=state,
        metric="val/accuracy",
        mode="max",
        **kept,
    )
    result.write()
    (sweep / "sweep.id").touch()
    if state == "finished":
        (result.folder / "metrics.json").write_text(json.dumps({"test/accuracy": test}))
    return result


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "a sweep"
    trial(folder, 0, "optimizer.lr=1e-3", "seed=0", value=0.7, test=0.99)
    trial(folder, 1, "optimizer.lr=1e-3", "seed=1", value=0.8, test=0.97)
    trial(folder, 2, "optimizer.lr=2e-3", "seed=0", value=0.8, test=0.6)
    trial(folder, 3, "optimizer.lr=2e-3", "seed=1", value=0.9, test=0.7)
    trial(folder, 4, "optimizer.lr=3e-3", "seed=0", state="failed", message="<b>no</b> | \x1b[31m [red]x")
    trial(folder, 5, "optimizer.lr=3e-3", "seed=1", state="nan", message="The loss was nan")
    trial(folder, 6, "optimizer.lr=4e-3", "seed=0", state="pruned", value=0.2)
    trial(folder, 7, "optimizer.lr=4e-3", "seed=1", state="running")
    return folder


def test_groups_are_ranked_by_validation_over_seeds(sweep: Path):
    board = read_leaderboard(sweep)
    first, second = board.groups
    assert first.values == {"optimizer.lr": "2e-3"}
    assert (first.val.mean, first.val.n) == (pytest.approx(0.85), 2)
    assert first.val.std == pytest.approx(0.1 / 2**0.5)
    assert first.test.mean == pytest.approx(0.65)
    assert second.test.mean == pytest.approx(0.98)
    assert [trial.display_state for trial in board.unranked] == ["failed", "nan", "pruned", "killed"]
    assert board.command == "python train.py data=imdb optimizer.lr=2e-3 seed=1"


def test_the_lowest_loss_is_best(tmp_path: Path):
    for number, value in enumerate((0.5, 0.3)):
        result = trial(tmp_path, number, f"optimizer.lr={number}", value=value)
        result.metric, result.mode = "val/loss", "min"
        result.write()
    assert [group.val.mean for group in read_leaderboard(tmp_path).groups] == [0.3, 0.5]


def test_the_command_is_quoted_for_a_shell(tmp_path: Path):
    trial(tmp_path, 0, "data.path='it is; rm -rf $HOME'", value=0.5)
    command = read_leaderboard(tmp_path).command
    assert command is not None
    assert shlex.split(command) == ["python", "train.py", "data=imdb", "data.path='it is; rm -rf $HOME'"]


def test_every_output_format(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(["leaderboard", str(sweep)])
    printed = capsys.readouterr().out
    assert "0.8500 ± 0.0707" in printed
    assert "again: python train.py data=imdb optimizer.lr=2e-3 seed=1\n" in printed
    assert "\x1b[31m" not in printed
    assert "[red]" in printed
    for name in ("board.csv", "board.md", "board.html"):
        main(["leaderboard", str(sweep), "--out", str(tmp_path / name)])
    rows = list(csv.DictReader((tmp_path / "board.csv").open()))
    assert [row["state"] for row in rows] == ["finished", "finished", "failed", "nan", "pruned", "killed"]
    assert float(rows[0]["val/accuracy mean"]) == pytest.approx(0.85)
    page = (tmp_path / "board.html").read_text()
    assert page.count("<title>trial ") == 4
    assert "prefers-color-scheme: dark" in page
    assert "http" not in page
    for written in (page, (tmp_path / "board.md").read_text()):
        assert "<b>" not in written
        assert "python train.py data=imdb optimizer.lr=2e-3 seed=1" in written


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", *arguments])
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_folder_that_is_not_a_sweep_is_refused(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    assert "is not the folder of a sweep" in refused(capsys, str(tmp_path / "empty"))
    assert "ends with .csv, .md, .html" in refused(capsys, str(sweep), "--out", "board.xlsx")
    (sweep / "0" / "trial.json").write_text('{"number": 0}')
    assert f"{sweep / '0' / 'trial.json'} cannot be read" in refused(capsys, str(sweep))


@pytest.fixture
def folded(tmp_path: Path) -> Path:
    """Two settings, two folds, two seeds; the second fold is easy, and the setting that lacks the first looks best."""
    folder = tmp_path / "folded"
    values = {("1e-3", 0): 0.6, ("1e-3", 1): 0.9, ("2e-3", 0): 0.5, ("2e-3", 1): 0.95, ("3e-3", 1): 0.99}
    for number, ((lr, fold), value) in enumerate(values.items()):
        for seed in (0, 1):
            options = [f"optimizer.lr={lr}", "data.num_folds=2", f"data.fold={fold}", f"seed={seed}"]
            made = trial(folder, 2 * number + seed, *options, value=value + seed / 100)
            made.swept.append("data.fold")
            made.write()
            settings = {"seed": seed, "data": {"split_seed": 0, "num_folds": 2, "fold": fold}}
            (made.folder / ".hydra").mkdir()
            (made.folder / ".hydra" / "config.yaml").write_text(json.dumps(settings))
            row = {"row": 0, "id": f"{lr} {fold}", "predicted": seed}
            (made.folder / "validation_predictions.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def test_folds_are_repetitions_and_never_ranked_against_each_other(folded: Path):
    board = read_leaderboard(folded)
    assert board.options == ("optimizer.lr",)
    assert [group.values["optimizer.lr"] for group in board.groups] == ["1e-3", "2e-3", "3e-3"]
    assert (board.groups[0].val.n, board.groups[0].val.mean) == (4, pytest.approx(0.755))
    assert board.best.number == 0
    assert board.command == "python train.py data=imdb optimizer.lr=1e-3 seed=0"
    assert [run.name for run in runs_of([folded, folded / "9"])] == ["0", "1", "2", "3", "9"]


def test_a_row_of_a_fold_is_written_once(folded: Path, capsys: pytest.CaptureFixture[str]):
    main(["leaderboard", str(folded)])
    assert f"out of fold: {folded / 'out_of_fold.jsonl'}" in capsys.readouterr().out
    rows = [json.loads(line) for line in (folded / "out_of_fold.jsonl").read_text().splitlines()]
    assert [(row["fold"], row["id"], row["predicted"]) for row in rows] == [(0, "1e-3 0", 0), (1, "1e-3 1", 0)]
    # of the second seed alone all folds are there
    (folded / "0" / "validation_predictions.jsonl").unlink()
    assert {row["predicted"] for row in written(folded)} == {1}
    (folded / "3" / "validation_predictions.jsonl").unlink()
    assert not written(folded)


def written(sweep: Path) -> list[dict[str, object]]:
    file = write_out_of_fold(read_leaderboard(sweep))
    return [] if file is None else [json.loads(line) for line in file.read_text().splitlines()]


def test_split_seeds_are_repetitions_too(tmp_path: Path):
    for seed, value in enumerate((0.5, 0.9)):
        trial(tmp_path, seed, f"data.split_seed={seed}", value=value)
    board = read_leaderboard(tmp_path)
    assert board.groups[0].val.n == 2
    assert board.command == "python train.py data=imdb data.split_seed=0"
    assert not written(tmp_path)
