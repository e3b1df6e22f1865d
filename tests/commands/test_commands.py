"""``lightune``: from a fresh process, by the run's folder alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import command
from omegaconf import OmegaConf

from lightune.commands import cli


@pytest.fixture
def lightune(capsys: pytest.CaptureFixture[str]):
    """Run a command in this process; return what it printed."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        cli.main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return run


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    assert caught.value.code not in (0, None)
    message = capsys.readouterr().err
    assert len(message.splitlines()) <= 5
    return message


def test_evaluate_in_a_fresh_process_gives_the_runs_figures(finished_run: Path, tmp_path: Path):
    metrics = json.loads((finished_run / "metrics.json").read_text())
    done = subprocess.run(
        [Path(sys.executable).with_name("lightune"), "evaluate", finished_run],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("loss", "accuracy", "f1"):
        row = next(line for line in done.stdout.splitlines() if name in line.split())
        assert f"{metrics[f'val/{name}']:.4f}" in row
        assert f"{metrics[f'test/{name}']:.4f}" in row


def test_predict_needs_neither_data_nor_pretrained_model(finished_run: Path, tmp_path: Path, lightune):
    run = tmp_path / "moved"
    shutil.copytree(finished_run, run)
    lines = lightune(
        "predict", run, "--text", "a superb and great film", "--text", "the boring and awful plot"
    ).splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["text"] for row in rows] == ["a superb and great film", "the boring and awful plot"]
    assert [row["label"] for row in rows] == ["positive", "negative"]
    assert all(set(row["probabilities"]) == {"positive", "negative"} for row in rows)


def test_a_run_older_than_an_option_is_read(finished_run: Path, tmp_path: Path, lightune):
    run = tmp_path / "older"
    shutil.copytree(finished_run, run)
    cfg = OmegaConf.load(run / ".hydra" / "config.yaml")
    for later in ("plan", "find", "profile", "report", "distill"):
        del cfg[later]
    del cfg.model["num_hidden_layers"]
    OmegaConf.save(cfg, run / ".hydra" / "config.yaml")
    assert json.loads(lightune("predict", run, "--text", "a superb film"))["label"] == "positive"


def test_predict_on_files_keeps_the_order(finished_run: Path, tmp_path: Path, lightune):
    texts = ["superb story", "dire plot", "NA", "a great film with a very long story and a plot"]
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(texts)))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "lines.txt").write_text("\n".join(texts) + "\n")
    found = []
    for name in ("rows.csv", "rows.jsonl", "lines.txt"):
        out = tmp_path / f"{name}.out.jsonl"
        lightune("predict", finished_run, "--file", tmp_path / name, "--out", out, "--batch-size", 3)
        found.append([json.loads(line) for line in out.read_text().splitlines()])
    assert [row["text"] for row in found[0]] == texts
    assert [row["label"] for row in found[0]] == [row["label"] for row in found[1]]
    assert [row.pop("id") for row in found[0]] == ["0", "1", "2", "3"]
    assert found[0] == found[2]
    assert not list(tmp_path.glob(".*tmp"))


def test_texts_that_look_like_dates_are_predicted_for(finished_run: Path, tmp_path: Path, lightune):
    """datasets reads them as times, which JSON has none of."""
    (tmp_path / "rows.jsonl").write_text('{"text": "2020-01-31"}\n')
    assert "2020-01-31" in lightune("predict", finished_run, "--file", tmp_path / "rows.jsonl")


def test_a_text_that_is_not_utf8_is_refused(finished_run: Path, capsys):
    assert "not UTF-8" in refused(capsys, "predict", finished_run, "--text", "caf\udce9")


def test_another_folder_is_said_not_to_be_a_run(tmp_path: Path, capsys):
    assert "is not the folder of a run" in refused(capsys, "predict", tmp_path, "--text", "x")


@pytest.mark.parametrize(
    "command", ["predict", "evaluate", "explain", "export", "report", "serve", "resume", "leaderboard"]
)
def test_an_archive_of_a_run_is_told(tmp_path: Path, capsys, command: str):
    archive = tmp_path / "run.zip"
    archive.write_bytes(b"PK")
    options = {"predict": ["--text", "x"], "explain": ["--text", "x"], "export": ["--out", tmp_path / "out"]}
    assert f"Unpack it, and name the folder: unzip {archive}" in refused(
        capsys, command, archive, *options.get(command, [])
    )


@pytest.mark.parametrize("option", ["resume", "model.from_run", "distill.teacher"])
def test_training_tells_an_archive_too(tmp_path: Path, option: str, start):
    archive = tmp_path / "run.zip"
    archive.write_bytes(b"PK")
    done = start(None, f"{option}={archive}", cwd=tmp_path)
    assert done.returncode == 1 and f"unzip {archive}" in done.stderr and len(done.stderr.splitlines()) <= 5


def test_the_version_is_printed(capsys):
    from importlib.metadata import version

    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"lightune {version('lightune')}\n"


def test_an_unfinished_run_says_so(finished_run: Path, tmp_path: Path, capsys):
    run = tmp_path / "unfinished"
    shutil.copytree(finished_run, run, ignore=shutil.ignore_patterns("checkpoints"))
    assert "has not finished an epoch" in refused(capsys, "evaluate", run)


def test_a_damaged_checkpoint_is_named(finished_run: Path, tmp_path: Path, capsys):
    run = tmp_path / "damaged"
    shutil.copytree(finished_run, run)
    best = run / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:500])
    assert str(best) in refused(capsys, "predict", run, "--text", "x")


def test_a_table_without_the_column_names_the_nearest(finished_run: Path, tmp_path: Path, capsys):
    (tmp_path / "rows.csv").write_text("texts\nx\n")
    message = refused(capsys, "predict", finished_run, "--file", tmp_path / "rows.csv")
    assert "no column 'text'. Did you mean 'texts'" in message


def test_a_second_text_for_a_run_on_single_texts_is_refused(finished_run: Path, capsys):
    message = refused(capsys, "predict", finished_run, "--text", "x", "--text-pair", "y")
    assert "give --text alone" in message


def test_a_file_that_exists_is_never_written_over(finished_run: Path, tmp_path: Path, capsys):
    """Not even before the run is read: the rows to label may be the only copy of somebody's labels."""
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text('{"text": "a superb film", "label": "positive"}\n')
    before = labelled.read_bytes()
    for arguments in (
        ("predict", finished_run, "--file", labelled, "--out", labelled),
        ("predict", finished_run, "--text", "x", "--out", labelled),
        ("explain", finished_run, "--text", "x", "--out", labelled),
        ("report", finished_run, "--out", labelled),
    ):
        assert f"{labelled} exists already" in refused(capsys, *arguments)
        assert f"{tmp_path} exists already" in refused(capsys, *arguments[:-1], tmp_path)
        assert f"there is no folder {tmp_path / 'no'}" in refused(capsys, *arguments[:-1], tmp_path / "no" / "out.csv")
    assert labelled.read_bytes() == before
    assert list(tmp_path.iterdir()) == [labelled]


def test_texts_that_the_terminal_cannot_show_are_labelled(finished_run: Path, tmp_path: Path):
    texts = ["一部好电影", "café 😀"]
    (tmp_path / "rows.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    arguments = ["-m", "lightune.commands", "predict", str(finished_run), "--file", str(tmp_path / "rows.txt")]
    done = command(*arguments, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == texts


def test_blank_texts_are_counted(finished_run: Path, tmp_path: Path, capsys):
    (tmp_path / "rows.csv").write_text('id,text\n1,superb\n2," "\n3,dire\n4,""\n')
    cli.main(["predict", str(finished_run), "--file", str(tmp_path / "rows.csv")])
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4
    assert "warning: 2 of the rows have a blank text, the first in line 3" in printed.err
    cli.main(["predict", str(finished_run), "--text", "superb", "--text", ""])
    assert "warning: 1 of the rows have a blank text, the first in line 2" in capsys.readouterr().err


def test_changed_data_is_neither_measured_nor_trained_on_silently(finished_run: Path, tmp_path: Path, capsys):
    data = finished_run.parent / "reviews.csv"
    run = shutil.copytree(finished_run, tmp_path / "run")
    original = data.read_text()
    try:
        data.write_text(original.replace("positive", "good"))
        assert "The data has changed since the run" in refused(capsys, "evaluate", finished_run)
        done = command("-m", "lightune.commands", "resume", str(run), "trainer.max_epochs=4")
        assert done.returncode == 1
        assert "its labels are ['good', 'negative']" in done.stderr and len(done.stderr.splitlines()) <= 5
    finally:
        data.write_text(original)
