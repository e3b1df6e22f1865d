from pathlib import Path

from finetune.data.line_rows import Rejected, jsonl_rows


def test_bad_lines_are_given_with_their_number_and_good_ones_stay(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(
        b'\xef\xbb\xbf{"text": "a"}\n\n{"text"\n{"other": 1}\n[]\n{"text": "\xff"}\n{"text": "b", "id": 1}'
    )
    rows = list(jsonl_rows(file, ["text"]))
    assert [row.line for row in rows] == [1, 3, 4, 5, 6, 7]
    assert [row.values["text"] for row in rows if not isinstance(row, Rejected)] == ["a", "b"]
    assert [row.reason.split(":")[0] for row in rows if isinstance(row, Rejected)] == [
        "not well-formed JSON",
        "there is no column 'text'",
        "no JSON object",
        "not UTF-8",
    ]
