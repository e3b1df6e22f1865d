import gzip
from pathlib import Path

import pytest

from lightune.common.errors import UserError
from lightune.data.sources.read import read, read_table
from lightune.data.sources.text_files import read_lines

FOUR_COLUMNS = """-DOCSTART- -X- -X- O

# sent_id = 1
Anna NNP B-NP B-PER
lives VBZ B-VP O

# NN B-NP O
in IN B-PP O
New\u00a0York NNP B-NP B-LOC
"""
ROWS = {
    "tokens": [["Anna", "lives"], ["#", "in", "New\u00a0York"]],
    "ner_tags": [["B-PER", "O"], ["O", "O", "B-LOC"]],
}


@pytest.mark.parametrize("name", ["x.conll", "x.bio", "x.iob2", "x.txt", "eng.testa", "x.conll.gz", "x.txt.gz"])
def test_a_file_is_recognized_by_its_name_or_its_first_lines(tmp_path: Path, name: str):
    content = FOUR_COLUMNS.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read(str(tmp_path / name))["train"].to_dict() == ROWS


def test_tabs_windows_line_ends_and_a_missing_last_line_end(tmp_path: Path):
    file = tmp_path / "x.txt"
    file.write_bytes(b"\xef\xbb\xbfAnna Lee\tB-PER\r\n\tO\r\n \t\r\nOslo\tB-LOC ")
    assert read_table(file).to_dict() == {
        "tokens": [["Anna Lee", ""], ["Oslo"]],
        "ner_tags": [["B-PER", "O"], ["B-LOC"]],
    }


def test_tags_without_a_prefix_are_read_if_the_name_says_the_format(tmp_path: Path):
    (tmp_path / "x.conll").write_text("Anna PER\nin O\n")
    assert read_table(tmp_path / "x.conll")["ner_tags"][0] == ["PER", "O"]


def test_files_of_a_folder_are_its_splits(tmp_path: Path):
    for name in ("train.txt", "valid.txt", "test.txt"):
        (tmp_path / name).write_text(FOUR_COLUMNS)
    (tmp_path / "README.txt").write_text("The shared task of 2003.\n")
    assert {split: len(rows) for split, rows in read(str(tmp_path)).items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }


def test_a_file_for_each_split(tmp_path: Path):
    for name in ("a.train", "a.dev"):
        (tmp_path / name).write_text(FOUR_COLUMNS)
    splits = read({"train": str(tmp_path / "a.train"), "validation": str(tmp_path / "a.dev"), "test": None})
    assert set(splits) == {"train", "validation"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Anna B-PER\n\nlives\n", "line 3: 'lives' stands alone"),
        ("Anna B-PER\nlives 7\n", "line 2: '7' is not a tag"),
        ("Anna B-PER\nin O\n\nOslo LOC\n", "line 4: 'LOC' is no tag beside B-PER, O"),
        ("1 Anna PER\n2 in 7\n", "line 2: '7' is not a tag"),
        ("1 Anna x B-PER\n2 in O\n", "line 2: 3 columns, 4 in the lines before"),
        ("1 Anna 4 _\n2 in 5 _\n", "line 1: '_' is not a tag"),
        ("# a comment\n\n", "there are no sentences"),
        ("Åse B-PER\n", "not UTF-8"),
    ],
)
def test_mistakes_are_refused_with_their_line(tmp_path: Path, content: str, message: str):
    file = tmp_path / "x.conll"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=message) as caught:
        read_table(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


def test_plain_lines_are_still_lines(tmp_path: Path):
    file = tmp_path / "lines.txt"
    file.write_text("a superb film\nB-movies are fun\n")
    assert read_lines(file) == ["a superb film", "B-movies are fun"]
    with pytest.raises(UserError, match="cannot tell its format"):
        read_table(file)


GERMEVAL = (
    "#\thttp://example.org [2009-10-17]\n1\tAnna\tB-PER\tO\n2\tin\tO\tO\n3\tOslo\tB-LOC\tB-ORG\n\n# n\n1\t7\tO\tO\n"
)
CONLL_U = """# newdoc
# text = So spricht B-12
1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_
1\tzu\tzu\tADP\tAPPR\t_\t3\tcase\t_\t_
2\tdem\tder\tDET\tART\t_\t3\tdet\t_\t_
2.1\tx\tx\tX\tX\t_\t_\t_\t_\t_

# text = Haus
1\tHaus\tHaus\tNOUN\tNN\t_\t0\troot\t_\t_
"""


def test_the_numbers_of_words_are_no_words(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for name in ("x.conll", "NER-de-train.tsv", "x.txt"):
        (tmp_path / name).write_text(GERMEVAL)
        with caplog.at_level("INFO"):
            rows = read_table(tmp_path / name)
        assert rows["tokens"][:] == [["Anna", "in", "Oslo"], ["7"]]
        assert rows["ner_tags"][:] == [["B-PER", "O", "B-LOC"], ["O"]]
        assert rows["column_4"][:] == [["O", "O", "B-ORG"], ["O"]]
    assert "the first column numbers the words; the others are tokens, ner_tags, column_4" in caplog.text
    (tmp_path / "y.conll").write_text("0 Anna NNP B-NP B-PER\n1 lives VBZ B-VP O\n")
    assert read_table(tmp_path / "y.conll")["ner_tags"][:] == [["B-PER", "O"]]
    (tmp_path / "en.iob2").write_text("1\tAnna\tB-PER\t-\tme\n2\tlives\tO\t-\tme\n")
    assert read_table(tmp_path / "en.iob2")["ner_tags"][:] == [["B-PER", "O"]]
    (tmp_path / "plain.conll").write_text("1 Anna PER\n2 lives O\n")
    assert read_table(tmp_path / "plain.conll").to_dict() == {"tokens": [["Anna", "lives"]], "ner_tags": [["PER", "O"]]}


def test_columns_of_conll_u_are_named(tmp_path: Path):
    (tmp_path / "x.conllu").write_text(CONLL_U)
    rows = read_table(tmp_path / "x.conllu")
    assert rows.column_names == ["tokens", "lemmas", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
    assert rows["tokens"][:] == [["zu", "dem"], ["Haus"]]
    assert rows["upos"][:] == [["ADP", "DET"], ["NOUN"]]


def test_words_that_are_numbers_are_words(tmp_path: Path):
    (tmp_path / "x.conll").write_text("1984 CD B-WORK\nby IN O\n\n7 CD O\n")
    assert read_table(tmp_path / "x.conll")["tokens"][:] == [["1984", "by"], ["7"]]
