"""Any bytes are read as a table or refused as a file; any override is taken or refused: no traceback."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hypothesis import example, given
from hypothesis import strategies as st
from test_fuzz import TEXTS, few

from lightune.common.errors import UserError
from lightune.config import check_calls, check_pairing, friendly_errors
from lightune.data.sources.read import read_table

# fmt: off
BYTES = st.lists(st.one_of(st.binary(max_size=4), st.sampled_from([
    b"a", b",", b'"', b"\n", b"\r", b"\t", b"\0", b"\xff", b"{", b"}", b"[", b"]", b":", b"null", b"1e999",
    b"text,label\n", b"a,b\n", b'"a\nb",c\n', b"text\tlabel\n", b"a\tb\n", b"Oslo B-LOC\n", b"\xef\xbb\xbf",
    b'{"text": "a"}\n', b'{"text": null, "b": 1}\n', b'{"text": ["\\ud800"]}\n', "한".encode(), b"\x1f\x8b\x08",
])), max_size=12).map(b"".join)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.just("2020-01-31"))
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)), max_leaves=5)
LINES = st.lists(st.dictionaries(st.sampled_from(["text", "label", "b"]), VALUES, max_size=3), max_size=4)
ANSWER = st.one_of(VALUES, st.fixed_dictionaries({"text": SCALARS, "answer_start": SCALARS}))
QA = st.one_of(VALUES, st.fixed_dictionaries({"id": SCALARS, "question": SCALARS, "answers": st.lists(ANSWER, max_size=2)}))
PARAGRAPH = st.one_of(VALUES, st.fixed_dictionaries({"context": SCALARS, "qas": st.lists(QA, max_size=2)}))
SQUAD = st.lists(PARAGRAPH, max_size=3).map(lambda found: {"data": [{"paragraphs": found}]})
CONTENTS = {
    "a.csv": st.one_of(BYTES, BYTES.map(lambda rest: b"text,label\n" + rest)),
    "a.tsv": st.one_of(st.just(b""), BYTES).map(lambda rest: b"text\tlabel\na\tb\n" + rest),
    "a.csv.gz": BYTES,
    "a.conll": st.one_of(BYTES, BYTES.map(lambda rest: b"Oslo B-LOC\n" + rest)),
    "a.jsonl": st.one_of(BYTES, LINES.map(lambda rows: "\n".join(map(json.dumps, rows)).encode())),
    "a.json": st.one_of(LINES, SQUAD).map(lambda tree: json.dumps(tree).encode()),
}
OVERRIDES = st.one_of(st.text(max_size=12), st.tuples(
    st.sampled_from(["", "+", "++", "~"]),
    st.sampled_from(["data", "model", "task", "seed", "data.path", "task._target_", "x", "trainer", "hydra", "task_name"]),
    st.sampled_from(["", "=", "=null", "=1", "=[", "={a:1}", "=[a,b]", "=a,b", "=${seed}", "=???", "=é", "=glue", "=os.system"]),
).map("".join))
# fmt: on


def is_read(file: Path) -> bool:
    try:
        rows = read_table(file)
    except UserError as error:
        assert str(file) in str(error)
        assert len(str(error).splitlines()) <= 5
        return False
    assert len(list(rows)) > 0
    return True


@pytest.mark.parametrize("name", CONTENTS)
def test_readers(tmp_path: Path, name: str):
    found = []

    @few
    @example(b"")
    @given(CONTENTS[name])
    def run(content):
        (tmp_path / name).write_bytes(content)
        found.append(is_read(tmp_path / name))

    run()
    assert name.endswith(".gz") or any(found)


def test_parquet_with_a_hole(tmp_path: Path):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"]}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()

    @few
    @given(st.integers(0, len(whole) - 1), st.binary(max_size=8))
    def run(at, other):
        (tmp_path / "a.parquet").write_bytes(whole[:at] + other + whole[at + 4 :])
        is_read(tmp_path / "a.parquet")

    run()


def test_overrides(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    conf = ROOT / "conf"

    @few
    @example("model=null")
    @given(OVERRIDES)
    def run(override):
        capfd.readouterr()
        try:
            with friendly_errors(conf), initialize_config_dir(str(conf), version_base="1.3"):
                cfg = compose("train", [override, f"run_dir={tmp_path}"])
                check_pairing(cfg, data="movie_reviews")
                check_calls(cfg)
        except SystemExit as stopped:
            assert stopped.code == 1
            assert 1 <= len(capfd.readouterr().err.splitlines()) <= 5

    run()
