import gzip
import io
import json
import tarfile
from pathlib import Path

import pandas
import pytest
from conftest import write_reviews
from datasets import Dataset, DatasetDict

from lightune.common import hub
from lightune.common.errors import UserError
from lightune.data.sources.read import read, read_table
from lightune.data.sources.stream_files import stream_rows
from lightune.data.sources.text_files import read_lines

ODD = 'Der Text,"ver dict"\n"two\nlines, one ""value""",bad\nNA,good\nnull,bad\n007,good\n'
ODD_ROWS = {
    "Der Text": ['two\nlines, one "value"', "NA", "null", "007"],
    "ver dict": ["bad", "good", "bad", "good"],
}


def test_every_csv_value_stays_a_text(tmp_path: Path):
    file = tmp_path / "odd.csv"
    file.write_text(ODD, encoding="utf-8")
    assert read_table(file).to_dict() == ODD_ROWS


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path):
    file = tmp_path / "excel.csv"
    file.write_text("text,label\na,b\n", encoding="utf-8-sig")
    assert read_table(file).column_names == ["text", "label"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_text_formats_also_gzipped(tmp_path: Path, suffix: str, packed: bool):
    content = {
        ".csv": "text,label\na,x\nb,y\n",
        ".tsv": "text\tlabel\na\tx\nb\ty\n",
        ".json": json.dumps([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]),
        ".jsonl": '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n',
    }[suffix].encode()
    file = tmp_path / f"rows{suffix}{'.gz' if packed else ''}"
    file.write_bytes(gzip.compress(content) if packed else content)
    assert read(str(file))["train"].to_dict() == {"text": ["a", "b"], "label": ["x", "y"]}


def test_parquet_and_saved_folders(tmp_path: Path):
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    rows.to_parquet(tmp_path / "rows.parquet")
    rows.save_to_disk(tmp_path / "one")
    DatasetDict(train=rows, test=rows).save_to_disk(tmp_path / "several")
    assert read(str(tmp_path / "rows.parquet"))["train"].to_dict() == rows.to_dict()
    assert read(str(tmp_path / "one"))["train"].to_dict() == rows.to_dict()
    assert set(read(str(tmp_path / "several"))) == {"train", "test"}


def test_the_hubs_layout(tmp_path: Path):
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    rows.to_parquet(tmp_path / "anything.parquet")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: anything.parquet\n---\n"
    )
    assert {split: len(splits) for split, splits in read(str(tmp_path)).items()} == {"test": 2}


def test_a_copy_of_one_configuration_is_read_whatever_its_name_on_the_hub(tmp_path: Path):
    Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "train.parquet")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.parquet\n---\n"
    )
    assert read(str(tmp_path), name="simplified")["train"]["text"][:] == ["a", "b"]
    named = (tmp_path / "README.md").read_text().replace("default", "raw")
    (tmp_path / "README.md").write_text(named)
    with pytest.raises(UserError, match="simplified"):
        read(str(tmp_path), name="simplified")


def test_folders_of_the_same_name_and_edited_files_are_distinguished(tmp_path: Path):
    for parent, texts in (("a", ["one"]), ("b", ["two", "three"]), ("a", ["four"])):
        folder = tmp_path / parent / "imdb"
        folder.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict({"text": texts}).to_parquet(folder / "train.parquet")
        (folder / "README.md").write_text(
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.parquet\n---\n"
        )
        assert list(read(str(folder))["train"]["text"]) == texts


def test_files_of_a_folder_are_its_splits(tmp_path: Path):
    for name, rows in (("train.csv", 8), ("dev.csv", 4), ("test.csv", 2)):
        write_reviews(tmp_path / name, rows)
    splits = {split: len(rows) for split, rows in read(str(tmp_path)).items()}
    assert splits == {"train": 8, "validation": 4, "test": 2}


def test_a_file_for_each_split(tmp_path: Path):
    write_reviews(tmp_path / "a.csv", 8)
    write_reviews(tmp_path / "b.csv", 4)
    splits = read({"train": str(tmp_path / "a.csv"), "validation": str(tmp_path / "b.csv"), "test": None})
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 8, "validation": 4}


@pytest.fixture
def acl(tmp_path: Path) -> Path:
    """The layout of the original IMDB archive, one file gzipped."""
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            folder = tmp_path / "aclImdb" / split / label
            folder.mkdir(parents=True)
            (folder / "0_9.txt").write_text(f"{split} {label}", encoding="utf-8")
        (tmp_path / "aclImdb" / split / "urls_pos.txt").write_text("http://example.com")
    unlabelled = tmp_path / "aclImdb" / "train" / "unsup"
    unlabelled.mkdir()
    (unlabelled / "0_0.txt").write_text("no label")
    (tmp_path / "aclImdb" / "train" / "pos" / "1_8.txt.gz").write_bytes(gzip.compress(b"packed"))
    (tmp_path / "aclImdb" / "README").write_text("about")
    (tmp_path / "aclImdb" / "imdb.vocab").write_text("the")
    return tmp_path / "aclImdb"


def test_the_original_imdb_archive(acl: Path):
    packed = acl.parent / "aclImdb_v1.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(acl, arcname="aclImdb")
    for source in (acl, packed):
        splits = read(str(source), class_folders=["neg", "pos"])
        train = sorted(zip(splits["train"]["text"], splits["train"]["label"], strict=True))
        assert train == [("packed", "pos"), ("train neg", "neg"), ("train pos", "pos")]
        assert sorted(splits["test"]["label"]) == ["neg", "pos"]


def test_class_folders_without_splits(acl: Path):
    assert sorted(read(str(acl / "test"))["train"]["label"]) == ["neg", "pos"]


def test_an_archive_cannot_write_outside(tmp_path: Path):
    file = tmp_path / "evil.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        info = tarfile.TarInfo("../pos/evil.txt")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    read(str(file))
    assert not (tmp_path.parent / "pos").exists()


def complaint(path: object, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(str(path), **options)
    assert len(str(caught.value).splitlines()) <= 4
    return str(caught.value)


def test_semicolons_instead_of_commas_are_named(tmp_path: Path):
    file = write_reviews(tmp_path / "rows.csv", 8, delimiter=";")
    assert 'data.delimiter=";"' in complaint(file)
    assert len(read(str(file), delimiter=";")["train"]) == 8


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "names no columns"),
        (b"text,label\na,b\nc,d,e\n", "line 3"),
        (b"text,text\na,b\n", "more than once"),
        ("text,label\nna\u00efve,b\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_broken_csv_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str):
    file = tmp_path / "broken.csv"
    file.write_bytes(content)
    message = complaint(file)
    assert reason in message
    assert str(file) in message


def test_broken_json_is_refused_with_its_path(tmp_path: Path):
    file = tmp_path / "broken.jsonl"
    file.write_text('{"text": "a"}\n{"text": \n')
    assert str(file) in complaint(file)


def test_a_missing_file_is_refused_with_its_neighbours_name(tmp_path: Path):
    write_reviews(tmp_path / "reviews.csv", 4)
    assert "Did you mean 'reviews.csv'" in complaint(tmp_path / "review.csv")


def test_a_folder_of_something_else_is_refused_with_what_is_expected(tmp_path: Path):
    (tmp_path / "thing.bin").write_bytes(b"thing")
    assert "a folder of text files for each class" in complaint(tmp_path)


def test_without_the_hub_the_data_set_and_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "use_hub_or_cache", lambda: False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    message = complaint("stanfordnlp/imdb")
    assert "stanfordnlp/imdb" in message
    assert "data.path=DIR" in message
    assert "python train.py" in message


def test_lines_are_texts(tmp_path: Path):
    file = tmp_path / "lines.txt"
    file.write_bytes(b"one\r\n\nthree")
    assert read_lines(file) == ["one", "", "three"]


def test_two_files_of_one_split_are_refused(tmp_path: Path):
    for name in ("train.csv", "training.csv"):
        (tmp_path / name).write_text("text,label\ngood,1\n")
    with pytest.raises(UserError, match=r"train.csv and training.csv are the same split.\nSay which: data.path.train="):
        read(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,label\nHello, world,good\n", "line 2: the row has 3 value(s) for 2 columns"),
        ("a.csv", b"text\0,label\na,b\n", "holds a NUL"),
        ("a.csv.gz", b"text,label\na,b\n", "not a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}', mtime=0)[:-6], "not a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "there are no rows"),
        ("a.conll.gz", gzip.compress(b"Oslo B-LOC", mtime=0)[:-6], "not a whole gzip file"),
        ("a.jsonl", b'null\n{"text": "a"}\n', "begins with 'null"),
        ("a.json", b"1", "begins with '1'"),
        ("a.json", b'[{"text": {"\\u0000": 1}}]', "holds a NUL"),
        ("a.parquet", b"PAR1", "not well-formed PARQUET"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    assert message in complaint(tmp_path / name)


def test_the_row_numbers_that_pandas_writes_are_a_column(tmp_path: Path):
    (tmp_path / "a.csv").write_text(",text\n0,good\n1,bad\n")
    assert read_table(tmp_path / "a.csv")["text"][:] == ["good", "bad"]


def test_a_text_of_any_length_is_read(tmp_path: Path):
    (tmp_path / "a.TSV").write_text(f"text\tlabel\n{'x' * 200_000}\tgood\n")
    assert len(read_table(tmp_path / "a.TSV")["text"][0]) == 200_000


@pytest.mark.parametrize(
    "name", ["r [1]", "r*", "r?", "**", "[!r]", "{r}", "r::s", "r#s", "100%", "$HOME", "r\\s", "a[b", "file:::r"]
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".parquet", ""])
def test_a_path_is_taken_literally(tmp_path: Path, name: str, suffix: str):
    """Each of these names would be a pattern, an address or a variable to datasets."""
    rows, neighbour = Dataset.from_dict({"text": ["mine"]}), Dataset.from_dict({"text": ["another's"]})
    for neighbours in ("rs", "r", "HOME", "rr"):
        neighbour.to_csv(tmp_path / f"{neighbours}{suffix or '.csv'}")
    file = tmp_path / f"{name}{suffix}"
    if suffix == "":
        DatasetDict(train=rows).save_to_disk(tmp_path / "saved")
        (tmp_path / "saved").rename(file)
    elif suffix == ".parquet":
        (tmp_path / "plain").write_bytes(b"")
        rows.to_parquet(tmp_path / "plain")
        (tmp_path / "plain").rename(file)
    else:
        content = b"text\nmine\n" if ".csv" in suffix else b'{"text": "mine"}\n'
        file.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    assert read(str(file))["train"].to_dict() == {"text": ["mine"]}
    if suffix:
        assert read({"train": str(file), "test": str(file)})["test"].to_dict() == {"text": ["mine"]}


def test_a_folder_in_the_hubs_layout_and_its_parents_are_taken_literally(tmp_path: Path):
    for parent in ("d [1]", "d*", "d1"):
        folder = tmp_path / parent / "hub"
        folder.mkdir(parents=True)
        Dataset.from_dict({"text": [parent]}).to_parquet(tmp_path / "rows.parquet")
        (tmp_path / "rows.parquet").rename(folder / "anything.parquet")
        (folder / "README.md").write_text(
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: anything.parquet\n---\n"
        )
    for parent in ("d [1]", "d*", "d1"):
        assert read(str(tmp_path / parent / "hub"))["test"]["text"][:] == [parent]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    "name",
    ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl", "a.jsonl.gz", "a.json", "a.parquet", "a.parquet.gz", "a.conll", "a.conll.gz", "a.txt", "a.txt.gz", "a.tar.gz", "train/pos/1.txt", "pos/1.txt.gz", "train.en"],
)  # fmt: skip
def test_a_pointer_of_git_lfs_is_named(tmp_path: Path, name: str):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(POINTER)
    if name == "train.en":
        (tmp_path / "train.de").write_text("ein\n")
    message = complaint(tmp_path if "/" in name or name == "train.en" else file)
    assert str(file) in message
    assert "a pointer of Git LFS, not the file itself.\nFetch the file: git lfs pull" in message


@pytest.mark.parametrize("packed", [False, True])
def test_a_text_file_of_a_class_in_another_encoding_gets_the_hint_of_csv_files(tmp_path: Path, packed: bool):
    for label, text in (("pos", b"good\n"), ("neg", "bad\nna\u00efve\n".encode("latin-1"))):
        (tmp_path / "given" / label).mkdir(parents=True)
        name = "1.txt.gz" if label == "neg" and packed else "1.txt"
        (tmp_path / "given" / label / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    with tarfile.open(tmp_path / "given.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "given", arcname="given")
    for source in ("given", "given.tar.gz"):
        message = complaint(tmp_path / source)
        assert (
            f"neg/{name}, line 2: not UTF-8: b'na\\xefve\\n'.\nConvert it, for example: iconv -f WINDOWS-1252"
            in message.replace("1.txt,", f"{name},")
        )


def test_damaged_archives_and_texts_are_refused(tmp_path: Path):
    (tmp_path / "a.tar.gz").write_bytes(b"nothing of the kind")
    assert "not a whole tar archive" in complaint(tmp_path / "a.tar.gz")
    (tmp_path / "b" / "pos").mkdir(parents=True)
    (tmp_path / "b" / "pos" / "1.txt.gz").write_bytes(b"text")
    assert "1.txt.gz: not a whole gzip file" in complaint(tmp_path / "b")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("first", "character"), [("sep=;", ";"), ("SEP=|", "|"), ('"sep=,"', ","), ("sep=\t", "\t")])
def test_excels_first_line_names_the_delimiter(tmp_path: Path, first: str, character: str, packed: bool):
    content = f"\ufeff{first}\r\ntext{character}label\r\na film{character}good\r\n".encode()
    file = tmp_path / ("a.csv.gz" if packed else "a.csv")
    file.write_bytes(gzip.compress(content) if packed else content)
    assert read_table(file).to_dict() == {"text": ["a film"], "label": ["good"]}
    assert [(row.line, row.values) for row in stream_rows(file, ["text"])] == [(3, {"text": "a film"})]
    ragged = content + b"too short\r\n"
    file.write_bytes(gzip.compress(ragged) if packed else ragged)
    assert "line 4: the row has 1 value(s) for 2 columns" in complaint(file)


PEOPLE = [{"text": f"a film {i}", "label": ["good", "bad"][i % 2]} for i in range(12)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
@pytest.mark.parametrize("orient", ["columns", "index", "split", "table", "records"])
def test_what_pandas_writes_is_read_in_every_layout(tmp_path: Path, orient: str, name: str, indent: int | None):
    frame = pandas.DataFrame(PEOPLE)
    frame.index += 5
    frame.to_json(tmp_path / name, orient=orient, indent=indent)
    rows = read_table(tmp_path / name)
    assert rows.select_columns(["text", "label"]).to_list() == PEOPLE
    streamed = [row.values for row in stream_rows(tmp_path / name, ["text"])]
    assert streamed == [{"text": row["text"]} for row in PEOPLE] or (orient == "records" and name == "a.jsonl")


def test_a_column_of_pandas_may_hold_several_kinds_as_json_may(tmp_path: Path):
    pandas.DataFrame({"text": ["a", "b"], "label": [1, "many"]}).to_json(tmp_path / "a.json")
    assert read_table(tmp_path / "a.json").to_dict() == {"text": ["a", "b"], "label": [1, "many"]}


def test_json_lines_that_begin_like_pandas_are_lines(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"votes": {"0": 3}, "text": "a"}\n{"votes": {"0": 4}, "text": "b"}\n')
    assert read_table(tmp_path / "a.jsonl")["text"][:] == ["a", "b"]
    (tmp_path / "a.json").write_text('{"index": ["a"], "data": [[1, 2]]}')
    assert read_table(tmp_path / "a.json").column_names == ["index", "data"]
    (tmp_path / "b.json").write_text('{"votes": {"0": 3}, "text": "a"}')
    assert read_table(tmp_path / "b.json")["text"][:] == ["a"]
