"""``lightune predict``: what it reads besides ``--text``, and what it writes."""

import io
import json
import subprocess
import sys
from pathlib import Path

import forked
import pandas
import pytest

from lightune.commands import cli

TEXTS = ["a superb and great film", 'the boring, "awful" plot', "lovely"]


@pytest.fixture
def lightune(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run the command in this process on standard input; return its exit code, and what it printed."""

    class Stdin(io.TextIOWrapper):
        def isatty(self) -> bool:
            return self.is_terminal

    def run(*arguments: object, stdin: bytes | None = b"", terminal: bool = False) -> tuple[object, list[dict], str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", Stdin(io.BufferedReader(io.BytesIO(stdin))))
        sys.stdin.is_terminal = terminal
        code: object = 0
        try:
            cli.main(["predict", *map(str, arguments)])
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        return code, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return run


@pytest.mark.parametrize("source", [["-"], [], ["--batch-size", "2", "-"]])
def test_standard_input_is_read(finished_run: Path, lightune, source: list[str]):
    lines = [*TEXTS, "", "café"]
    code, rows, told = lightune(finished_run, *source, stdin="\n".join(lines).encode())
    assert code == 0
    assert [row["text"] for row in rows] == lines
    assert "5 rows labelled" in told and "1 of the rows have a blank text, the first in line 4" in told


def test_json_lines_are_told_by_the_first(finished_run: Path, lightune):
    given = b'{"id": 7, "text": "dire"}\n\n{"id": 8, "text": "fine"}\nnot JSON\n'
    _, rows, told = lightune(finished_run, "-", stdin=given)
    assert [(row["id"], row["text"]) for row in rows] == [(7, "dire"), (8, "fine")]
    assert "rejected: line 4: not well-formed JSON" in told
    _, rows, _ = lightune(finished_run, "-", stdin=b'{"review": "dire"}\n')
    assert rows[0]["text"] == '{"review": "dire"}'


def test_what_standard_input_lacks_is_told(finished_run: Path, lightune):
    assert lightune(finished_run, "-")[0::2] == (1, "error: standard input: there are no rows.\n")
    code, rows, told = lightune(finished_run, "-", stdin=b"fine\n\xff\ngood\n")
    assert code == 0 and [row["text"] for row in rows] == ["fine", "good"]
    assert "rejected: line 2: not UTF-8: '\\\\xff'" in told


def test_a_terminal_without_texts_is_told(finished_run: Path, lightune):
    code, _, told = lightune(finished_run, terminal=True)
    assert code == 1 and "--text TEXT or --file FILE, or -" in told


def test_rows_come_out_while_more_are_awaited(finished_run: Path):
    command = [forked.python(), "-m", "lightune.commands", "predict", finished_run, "-", "--batch-size", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for texts in (b"superb\ndire\n", b"fine\nlovely\n"):
            process.stdin.write(texts)
            process.stdin.flush()
            found = [json.loads(process.stdout.readline())["text"] for _ in range(2)]
            assert found == texts.decode().split()
        # the reader has seen enough
        process.stdout.close()
        process.stdin.write(b"good\n" * 99)
        process.stdin.close()
        assert "Traceback" not in process.stderr.read().decode()
    assert process.returncode == 0


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl", "CSV"])
def test_tables_are_opened_by_pandas(finished_run: Path, tmp_path: Path, lightune, ending: str):
    texts = [*TEXTS, 'two\nlines,\t"quoted"\r', "Ünï 😀"]
    rows = [{"id": f"00{number}", "text": text, "label": "gold", "score": 1} for number, text in enumerate(texts)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / f"out.{ending}"
    code, _, told = lightune(finished_run, "--file", tmp_path / "rows.jsonl", "--out", out)
    assert code == 0
    assert told.count("label is predicted, so the input's column of that name is called label_input") == 1
    match ending.lower():
        case "parquet":
            found = pandas.read_parquet(out)
        case "jsonl":
            found = pandas.read_json(out, lines=True, dtype=False)
        case _:
            found = pandas.read_csv(out, sep="\t" if ending == "tsv" else ",", dtype={"id": str})
    assert found["text"].tolist() == texts
    assert found["id"].tolist() == [row["id"] for row in rows]
    assert found["label_input"].tolist() == ["gold"] * 5 and found["score_input"].tolist() == [1] * 5
    assert found["label"].tolist()[:3] == ["positive", "negative", "positive"]
    if ending in ("parquet", "jsonl"):
        best = [max(row.values()) for row in found["probabilities"]]
    else:
        best = found[["probabilities.negative", "probabilities.positive"]].max(axis=1).tolist()
    assert best == pytest.approx(found["score"].tolist())
    assert [*tmp_path.glob("out*")] == [out]


def test_texts_and_standard_input_become_tables_too(finished_run: Path, tmp_path: Path, lightune):
    for source in (["--text", "dire"], ["-"]):
        out = tmp_path / f"{source[0]}.csv"
        assert lightune(finished_run, *source, "--out", out, stdin=b"dire\n")[0] == 0
        assert pandas.read_csv(out)["label"].tolist() == ["negative"]


def test_an_unknown_ending_is_refused_before_the_run_is_read(tmp_path: Path, lightune):
    for name in ("out.xlsx", "out", "out.csv.gz"):
        code, _, told = lightune("no run", "--text", "x", "--out", tmp_path / name)
        assert code == 1 and "ends with .jsonl, .json, .csv, .tsv, .parquet" in told
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.json", "rows.parquet"])
def test_other_columns_are_kept(finished_run: Path, tmp_path: Path, lightune, name: str):
    table = pandas.DataFrame({"id": ["a", "b"], "text": ["superb", "dire"], "label_input": ["x", "y"], "label": [1, 2]})
    match name.partition(".")[2]:
        case "parquet":
            table.to_parquet(tmp_path / name)
        case "json" | "jsonl" as kind:
            table.to_json(tmp_path / name, orient="records", lines=kind == "jsonl")
        case kind:
            table.to_csv(tmp_path / name, index=False, sep="\t" if kind == "tsv" else ",")
    _, rows, told = lightune(finished_run, "--file", tmp_path / name)
    assert [[*row] for row in rows] == [
        ["id", "text", "label_input", "label_input_input", "label", "score", "probabilities"]
    ] * 2
    assert [(row["id"], row["label_input"], int(row["label_input_input"])) for row in rows] == [
        ("a", "x", 1), ("b", "y", 2),
    ]  # fmt: skip
    assert [row["label"] for row in rows] == ["positive", "negative"]
    assert told.count("called label_input_input") == 1


def test_rows_under_the_least_score_have_no_label(finished_run: Path, tmp_path: Path, lightune):
    texts = ["superb", "dire", "the film and the plot"]
    (tmp_path / "rows.txt").write_text("\n".join(texts))
    _, plain, _ = lightune(finished_run, "--file", tmp_path / "rows.txt")
    assert "abstained" not in plain[0]
    least = sorted(row["score"] for row in plain)[1]
    out = tmp_path / "rows.jsonl"
    _, rows, told = lightune(finished_run, "--file", tmp_path / "rows.txt", "--min-score", least)
    assert "1 of 3 rows abstained" in told
    for row, before in zip(rows, plain, strict=True):
        assert row["abstained"] == (before["score"] < least)
        assert row["label"] == (None if row["abstained"] else before["label"])
        assert row["probabilities"] == before["probabilities"]
    assert lightune(finished_run, "--file", tmp_path / "rows.txt", "--min-score", least, "--out", out)[0] == 0
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    # they are predictions, not columns that came with the rows
    assert lightune(finished_run, "--file", out, "--min-score", least)[1] == rows


@pytest.mark.parametrize("asked", ["80", "-0.1"])
def test_a_least_score_is_a_probability(lightune, asked: str):
    code, _, told = lightune("no run", "--text", "x", f"--min-score={asked}")
    assert code == 1 and f"--min-score {asked}: expected a probability, 0 to 1." in told
