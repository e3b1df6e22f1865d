import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from lightune.common.errors import UserError
from lightune.data.sources import csv_files, stream
from lightune.data.sources.stream import InputRow, RejectedRow
from lightune.data.sources.stream_files import stream_rows


def read(file: Path, content: bytes | str, columns: tuple[str, ...] = ("text",)) -> tuple[list, list]:
    """Return the first column of the rows, and line and reason of what is rejected."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    rows = list(stream_rows(file, list(columns)))
    rejected = [(row.line, row.reason.split(":")[0].split(". ")[0]) for row in rows if isinstance(row, RejectedRow)]
    assert [row.share for row in rows] == sorted(row.share for row in rows)
    return [row.values[columns[0]] for row in rows if isinstance(row, InputRow)], rejected


def test_jsonl(tmp_path: Path):
    content = b'\xef\xbb\xbf{"text": "a"}\n\n{"text"\n{"other": 1}\n[]\n{"text": "\xff"}\n{"text": 5}\n{"text": null}\n{"text": "\\ud800"}\n{"text": "\xc3\xa9"}'
    expected = (
        ["a", "é"],
        [
            (3, "not well-formed JSON"),
            (4, "there is no column 'text'"),
            (5, "not a JSON object"),
            (6, "not UTF-8"),
            (7, "column 'text' holds 5, which is not a text"),
            (8, "there is no text in column 'text'"),
            (9, "not UTF-8"),
        ],
    )
    assert read(tmp_path / "a.jsonl", content) == expected
    assert read(tmp_path / "a.json", content) == expected
    assert read(tmp_path / "a.jsonl.gz", gzip.compress(content)) == expected
    raws = {row.line: row.raw for row in stream_rows(tmp_path / "a.jsonl", ["text"])}
    assert raws[3] == '{"text"'
    assert raws[6] == '{"text": "\\xff"}'


@pytest.mark.parametrize(
    ("first", "texts", "rejected"),
    [("[1]", ["a"], [1]), ("nonsense", ["a"], [1]), ('{"text": "b"}', ["b", "a"], [])],
)
def test_a_bad_first_line_is_one_line(tmp_path: Path, first: str, texts: list[str], rejected: list[int]):
    found, bad = read(tmp_path / "a.jsonl", f'{first}\n{{"text": "a"}}\n')
    assert (found, [line for line, _ in bad]) == (texts, rejected)


def test_json_that_is_one_value_is_read_whole(tmp_path: Path):
    objects = [{"t": {"en": "a"}}, {"t": {"en": None}}, {"t": {"en": "b"}}]
    for indent in (None, 1):
        result = read(tmp_path / f"{indent}.json", json.dumps(objects, indent=indent), ("t.en",))
        assert result == (["a", "b"], [(2, "there is no text in column 't.en'")])
    assert read(tmp_path / "a.jsonl", json.dumps(objects[0]), ("t.en",)) == (["a"], [])


def test_csv_rejects_records_not_files(tmp_path: Path):
    content = b'id,text\n1,"two\nlines"\n\n2,too,many\n3,\xff\n4,NA\n5,"a ""quoted"" word"\n'
    result = read(tmp_path / "a.csv", content)
    assert result == (
        ["two\nlines", "NA", 'a "quoted" word'],
        [(5, "3 value(s) for 2 columns"), (6, "not UTF-8")],
    )
    assert read(tmp_path / "a.tsv", content.replace(b",", b"\t"))[0] == result[0]


@pytest.mark.parametrize("after", ["", '4,"quoted"\n', '4,"quoted, and all"\n5,"x"\n'])
def test_an_unclosed_quote_costs_its_own_line(tmp_path: Path, after: str):
    texts, rejected = read(tmp_path / "a.csv", 'id,text\n1,a\n2,"not closed\n3,b\n' + after)
    assert texts[:2] == ["a", "b"]
    assert len(texts) == 2 + len(after.splitlines())
    assert [line for line, _ in rejected] == [3]


def test_an_unclosed_quote_is_not_searched_for_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(csv_files, "LONGEST_RECORD", 100)
    texts, rejected = read(tmp_path / "a.csv", 'text\n"open\n' + "row\n" * 1000)
    assert (texts, rejected) == (["row"] * 1000, [(2, "a double quote is not closed")])


def test_a_line_without_an_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, "LONGEST_LINE", 100)
    for name, columns in (("a.txt", "text"), ("a.csv", "a\n")):
        texts, rejected = read(
            tmp_path / name, (columns if name == "a.csv" else "") + "a\n" + "b" * 250 + "\nc\n", ("a",)
        )
        assert texts == ["a", "c"]
        assert [reason for _, reason in rejected] == ["a line of more than 100 characters, cut off here"]


def test_parquet(tmp_path: Path):
    table = pyarrow.table({"text": ["a", None, "b"], "t": [{"en": "c"}, {"en": "d"}, None], "year": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    assert read(tmp_path / "a.parquet", content) == (["a", "b"], [(2, "there is no text in column 'text'")])
    assert read(tmp_path / "a.parquet", content, ("t.en",))[0] == ["c", "d"]
    assert read(tmp_path / "a.parquet", content, ("year",))[0] == [1, 2, 3]
    with pytest.raises(UserError, match=r"no column 'texts'. Did you mean 'text'"):
        read(tmp_path / "a.parquet", content, ("texts",))
    with pytest.raises(UserError, match="not well-formed PARQUET"):
        read(tmp_path / "a.parquet", content[:-20])


def test_conll_and_damaged_gzip(tmp_path: Path):
    assert read(tmp_path / "a.conll", "Oslo B-LOC\nis O\n", ("tokens",)) == ([["Oslo", "is"]], [])
    with pytest.raises(UserError, match="not a whole gzip file"):
        read(tmp_path / "a.txt.gz", gzip.compress(b"a\n" * 1000)[:-9])
