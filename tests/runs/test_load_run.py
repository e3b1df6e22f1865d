import json
from collections.abc import Callable
from pathlib import Path

import pytest

import lightune
from lightune.commands import cli

Train = Callable[..., dict[str, float]]


def said(capsys: pytest.CaptureFixture[str], run: Path, *arguments: str) -> list[dict]:
    capsys.readouterr()
    cli.main(["predict", str(run), *arguments])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_it_predicts_what_the_command_says(finished_run: Path, capsys: pytest.CaptureFixture[str]):
    texts = ["A film to treasure.", "an awful story", "", *(f"the {word} " * 9 for word in ("good", "bad"))]
    lines = said(capsys, finished_run, *(part for text in texts for part in ("--text", text)))
    run = lightune.load(finished_run)
    assert run.predict(texts) == lines
    assert run.predict(iter({"text": text} for text in texts)) == lines
    assert run.predict([{"id": 7, "text": texts[0]}]) == [{"id": 7} | lines[0]]
    assert run.predict([]) == []
    assert isinstance(run.task, lightune.TextClassification)
    assert (run.preprocessor.input_columns, run.cfg.data.max_length) == (["text"], 32)


def test_many_rows_keep_their_order(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    texts = [f"{'good film ' * (row % 7 + 1)}{row}" for row in range(600)]
    (tmp_path / "texts.txt").write_text("".join(text + "\n" for text in texts))
    found = lightune.load(str(finished_run)).predict(texts)
    assert [row["text"] for row in found] == texts
    assert found == said(capsys, finished_run, "--file", str(tmp_path / "texts.txt"))


def test_pairs_are_tuples_or_dicts(train_here: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("one,two,label\n" + "good film,bad film,no\nfine plot,great plot,yes\n" * 20)
    train_here("data=local", f"data.path={pairs}", "data.text_columns=[one,two]", "trainer.max_epochs=1")
    run = lightune.load(tmp_path / "run")
    lines = said(capsys, tmp_path / "run", "--text", "good film", "--text-pair", "bad plot")
    assert run.predict([("good film", "bad plot")]) == run.predict([["good film", "bad plot"]]) == lines
    assert run.predict([{"two": "bad plot", "one": "good film"}]) == [
        {name: lines[0][name] for name in ("two", "one", *[name for name in lines[0] if name not in ("one", "two")])}
    ]
    for row in ("good film", ("a", "b", "c"), {"one": "a"}):
        with pytest.raises(lightune.UserError, match=r"Row 2, .*: this run reads the column\(s\) one, two"):
            run.predict([("a", "b"), row])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A text.", "predict(str, batch_size=32): expected a list of rows"),
        ({"text": "A text."}, "predict(dict"),
        (["fine", None], "Row 2, 'None': there is no text in column 'text'"),
        (["fine", 3], "Row 2, '3': column 'text' holds 3, which is not a text"),
        (["\ud800"], "not UTF-8"),
    ],
)
def test_rows_that_cannot_be_read_are_told(finished_run: Path, rows: object, message: str):
    with pytest.raises(lightune.UserError) as error:
        lightune.load(finished_run).predict(rows)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_a_table_is_no_list_of_rows(finished_run: Path):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(lightune.UserError, match=r"predict\(DataFrame"):
        lightune.load(finished_run).predict(pandas.DataFrame({"text": ["fine"]}))


def test_what_is_no_run_is_told(tmp_path: Path):
    with pytest.raises(lightune.UserError, match="is not the folder of a run"):
        lightune.load(tmp_path)
