"""``lightune predict`` on files: in order, in little memory, resumed after a kill, no row lost silently."""

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import review

from lightune.commands import cli
from lightune.commands import predict as command
from lightune.data.sources.stream import InputRow, RejectedRow
from lightune.runs.inference import Predictor
from lightune.runs.load_run import rebuild
from lightune.runs.predict import predict
from lightune.runs.resumable_output import ResumableOutput

ROWS = 100
BAD = {7: b'{"text": 5}', 30: b'{"text"', 64: b"\xff", 99: b'{"texts": "x"}'}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Texts of mixed length, four lines of which are bad, and chunks of 16 rows."""
    monkeypatch.setattr(command, "CHUNK", 4)
    rng = random.Random(0)
    lines = [
        json.dumps({"text": f"{review('positive', rng)} {'and ' * rng.randint(0, 9)}"}).encode() for _ in range(ROWS)
    ]
    for line, bad in BAD.items():
        lines[line - 1] = bad
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    return tmp_path / "rows.jsonl"


def run(finished_run: Path, file: Path, *arguments: object) -> None:
    cli.main(["predict", str(finished_run), "--file", str(file), "--batch-size", "4", *map(str, arguments)])


def left_beside(out: Path) -> list[str]:
    return sorted(one.name for one in out.parent.glob(f"{out.name}*"))


def test_order_and_rejected_rows(finished_run: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out.jsonl"
    run(finished_run, file, "--out", out)
    lines = file.read_bytes().split(b"\n")
    good = [json.loads(line)["text"] for number, line in enumerate(lines, start=1) if number not in BAD]
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["text"] for row in found] == good
    assert all(row["label"] == "positive" for row in found)
    rejected = [json.loads(line) for line in (tmp_path / "out.jsonl.rejected.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rejected] == list(BAD)
    assert rejected[2] == {"line": 64, "reason": "not UTF-8", "raw": "\\xff"}
    assert f"warning: 96 rows labelled: {out}; 4 rejected: {out}.rejected.jsonl" in capsys.readouterr().err
    assert left_beside(out) == ["out.jsonl", "out.jsonl.rejected.jsonl"]

    run(finished_run, file)
    printed = capsys.readouterr()
    assert [json.loads(line)["text"] for line in printed.out.splitlines()] == good
    assert "rejected: line 30: not well-formed JSON" in printed.err
    assert "96 rows labelled; 4 rejected" in printed.err


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("killed", ["before the state", "after the state"])
def test_killed_and_started_again(
    finished_run: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], killed: str, ending: str,
):  # fmt: skip
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    run(finished_run, file, "--out", whole)
    append = ResumableOutput.append

    def third_fails(self: ResumableOutput, labelled: list[str], rejected: list[str]) -> None:
        if self.rows == 48:
            if killed == "before the state":
                self._files[0].write(labelled[0].encode()[:20])  # a torn line
            raise RuntimeError("killed")
        append(self, labelled, rejected)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(ResumableOutput, "append", third_fails)
        run(finished_run, file, "--out", out)
    assert not out.exists()
    assert left_beside(out) == [f"{out.name}{one}" for one in (".part", ".part.json", ".rejected.jsonl.part")]
    run(finished_run, file, "--out", out)
    assert "resuming after 48 rows" in capsys.readouterr().err
    for suffix in ("", ".rejected.jsonl"):
        assert Path(f"{out}{suffix}").read_bytes() == Path(f"{whole}{suffix}").read_bytes()
    assert left_beside(out) == [out.name, f"{out.name}.rejected.jsonl"]


def test_standard_input_is_not_resumed(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out.csv"
    append = ResumableOutput.append

    def second_is_stopped(self: ResumableOutput, labelled: list[str], rejected: list[str]) -> None:
        if self.rows:
            raise KeyboardInterrupt
        append(self, labelled, rejected)

    arguments = ["predict", str(finished_run), "-", "--batch-size", "1", "--out", str(out)]
    monkeypatch.setattr(command, "CHUNK", 1)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"good\nbad\n"))))
    with monkeypatch.context() as patched, pytest.raises(SystemExit, match="130"):
        patched.setattr(ResumableOutput, "append", second_is_stopped)
        cli.main(arguments)
    assert f"stopped after 1 rows; they are in {out}.part" in capsys.readouterr().err
    assert json.loads(Path(f"{out}.part").read_text())["text"] == "good"
    # another process
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(SystemExit, match="1"):
        cli.main(arguments)
    assert "its input was standard input of process" in capsys.readouterr().err


def test_parts_of_another_input_or_run_are_not_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out.jsonl"
    first = ResumableOutput(out, made_from={"input": "a (5 bytes)", "checkpoint": "c"})
    first.append(["one"], [])
    first.close()
    with pytest.raises(command.UserError, match=r"its input was a \(5 bytes\).*\nTo start anew: rm"):
        ResumableOutput(out, made_from={"input": "a (6 bytes)", "checkpoint": "c"})
    again = ResumableOutput(out, made_from={"input": "a (5 bytes)", "checkpoint": "c"})
    with pytest.raises(command.UserError, match="another process"):
        ResumableOutput(out, made_from={})
    again.close()
    Path(f"{out}.part").write_text("")
    with pytest.raises(command.UserError, match="damaged"):
        ResumableOutput(out, made_from={"input": "a (5 bytes)", "checkpoint": "c"})
    Path(f"{out}.part.json").unlink()
    anew = ResumableOutput(out, made_from={"input": "b", "checkpoint": "c"})
    assert anew.rows == 0
    anew.close()


def test_nothing_but_bad_rows_is_an_error(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out.jsonl"
    (tmp_path / "rows.jsonl").write_text('{"texts": "a"}\n[]\n')
    with pytest.raises(SystemExit) as ended:
        run(finished_run, tmp_path / "rows.jsonl", "--out", out)
    assert ended.value.code == 1
    assert f"none of 2 rows could be labelled: {out}.rejected.jsonl" in capsys.readouterr().err
    assert left_beside(out) == ["out.jsonl.rejected.jsonl"]
    assert "Did you mean 'texts'" in (tmp_path / "out.jsonl.rejected.jsonl").read_text()


def test_rows_are_taken_chunk_by_chunk(finished_run: Path):
    taken = 0

    def rows() -> Iterator[InputRow | RejectedRow]:
        nonlocal taken
        for taken in range(1, 10**9):
            text = "good " * (taken % 7)
            yield InputRow(
                line=taken,
                raw=text,
                values={"text": text if taken % 5 else ["no", "text"]},
                share=taken / 100,
            )

    _, task, preprocessor = rebuild(finished_run)
    progress: list[tuple[int, float]] = []
    predictor = Predictor(task, preprocessor, precision="32-true", few_widths=True)
    chunks = predict(
        predictor, rows(), batch_size=4, chunk_rows=10,
        on_batch=lambda rows, share: progress.append((rows, share)),
    )  # fmt: skip
    for number in (1, 2):
        chunk = next(chunks)
        assert taken == 10 * number
        assert [row.line for row in chunk] == list(range(10 * number - 9, 10 * number + 1))
        assert [row.line for row in chunk if isinstance(row, RejectedRow)] == [10 * number - 5, 10 * number]
        assert "is not a text" in next(row.reason for row in chunk if isinstance(row, RejectedRow))
    assert sum(rows for rows, _ in progress) == 16
    assert [share for _, share in progress] == pytest.approx([0.06, 0.1, 0.16, 0.2])
