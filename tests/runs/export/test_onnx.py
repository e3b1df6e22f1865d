"""What is exported as ONNX computes in onnxruntime, without PyTorch, what the run computes."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import command
from test_all_tasks import write_pairs

from lightune.commands import cli
from lightune.runs.export import onnx
from lightune.runs.load_run import rebuild

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROWS = {
    "pooled": {"text": "a good plot", "label": "fine"},
    "windows": {"text": "a good plot " * 12, "label": "fine"},
    "pairs": {"text": "a good plot", "beside": "the film", "label": 0.5},
    "several": {"text": "a good plot", "label": ["fine", "short"]},
    "tags": {"tokens": ["a", "good", "plot"], "tags": ["O", "B-X", "O"]},
    "answers": {
        "question": "film", "context": "the story is a good plot",
        "answers": {"text": ["good"], "answer_start": [15]},
    },
}  # fmt: skip
OTHERS = {
    "pooled": "dull",
    "windows": "dull",
    "pairs": 1.25,
    "several": ["fine"],
}  # of every second row, on another text
OPTIONS = {
    "pooled": ["model.pooling=mean"],
    "windows": ["model.pooling=null", "data.max_length=16", "data.doc_stride=4"],
    "pairs": ["model.pooling=null", "data.text_columns=[text,beside]", "tuning=lora"],
    "several": ["model.pooling=null"],
    "tags": [
        "task=token_classification", "data.tokens_column=tokens", "data.label_column=tags", "data.doc_stride=8"
    ],
    "answers": ["task=question_answering", "data.doc_stride=8"],
}  # fmt: skip


def train(train_here: Callable[..., dict[str, float]], tmp_path: Path, kind: str) -> Path:
    data = tmp_path / "rows.jsonl"
    rows = [
        ROWS[kind] | ({"text": "a bad story", "label": OTHERS[kind]} if kind in OTHERS and i % 2 else {})
        for i in range(40)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train_here("data=local", f"data.path={data}", *OPTIONS[kind], "trainer.max_epochs=1", "optimizer.lr=1e-3")
    return tmp_path / "run"


def script(folder: Path) -> str:
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("kind", ROWS)
def test_logits_are_pytorchs_at_any_number_of_rows_and_tokens(
    train_here: Callable[..., dict[str, float]],
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
):
    run, out = train(train_here, tmp_path, kind), tmp_path / "out"
    cli.main(["export", str(run), "--out", str(out), "--format", "onnx"])
    session = onnxruntime.InferenceSession(out / "model.onnx")
    model = rebuild(run)[1].model.eval()
    for rows, length in ((1, 3), (5, 17), (2, 32)):
        ids = torch.randint(5, 20, (rows, length), generator=torch.Generator().manual_seed(rows))
        mask = torch.ones_like(ids)
        mask[0, 2:] = 0
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        with torch.no_grad():
            wanted = model(**given)
        outputs = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})
        for one, output in zip(session.get_outputs(), outputs, strict=True):
            np.testing.assert_allclose(output, wanted[one.name].numpy(), rtol=0, atol=1e-4)
    assert not list(out.glob("*.data"))
    monkeypatch.chdir(out)
    exec(compile(script(out), "README.md", "exec"), {})


def test_the_quickstarts_kind_of_run_is_used_as_its_card_says_without_torch(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    cli.main(["export", str(finished_run), "--out", str(out), "--format", "onnx", "--quantize", "int8"])
    said = capsys.readouterr().out
    assert "int8" in said and "times as fast" in said and "accuracy" in said
    card = (out / "README.md").read_text()
    assert "python train.py data=local" in card and "## What int8 costs" in card
    assert {file.name for file in out.iterdir()} >= {"model.onnx", "config.json", "tokenizer.json"}
    assert not (out / "float32.onnx").exists()
    text = script(out).replace("A text.", "a superb and great film")
    done = command("-c", f"{text}\nimport sys\nassert 'lightune' not in sys.modules", cwd=out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['positive']"


def test_a_graph_that_computes_something_else_is_refused_and_nothing_is_left(
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    right = onnx.run
    monkeypatch.setattr(onnx, "run", lambda *given: [one + 0.01 for one in right(*given)])
    with pytest.raises(SystemExit):
        cli.main(["export", str(finished_run), "--out", str(tmp_path / "out"), "--format", "onnx"])
    assert "not PyTorch's" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quantize", "int8"], "Add --format onnx"),
        (["--format", "onnx", "--adapter"], "leave one of them out"),
        (["--format", "onnx", "--push-to-hub", "a/b"], "HF_TOKEN"),
    ],
)
def test_what_does_not_go_together_is_said_before_the_run_is_read(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(SystemExit):
        cli.main(["export", str(tmp_path / "no run"), "--out", str(tmp_path / "out"), *arguments])
    assert said in capsys.readouterr().err


def test_what_writes_text_is_no_graph(
    train_here: Callable[..., dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_pairs(tmp_path / "rows.jsonl", 40)
    train_here(
        "task=translation", "data=local", f"data.path={tmp_path / 'rows.jsonl'}", "data.max_target_length=8",
        "trainer.max_steps=1",
    )  # fmt: skip
    with pytest.raises(SystemExit):
        cli.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--format", "onnx"])
    assert "--format hf" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("lightune.common.packages.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        cli.main(["export", str(tmp_path), "--out", str(tmp_path / "out"), "--format", "onnx"])
    assert "pip install -e '.[onnx]'" in capsys.readouterr().err


def test_a_text_of_several_windows_is_used_as_its_card_says(
    train_here: Callable[..., dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, text = train(train_here, tmp_path, "windows"), "a bad story and a good plot " * 6
    capsys.readouterr()
    cli.main(["predict", str(run), "--text", text])
    label = json.loads(capsys.readouterr().out)["label"]
    for kind, more in (("onnx", ["--quantize", "int8"]), ("hf", [])):
        out = tmp_path / kind
        cli.main(["export", str(run), "--out", str(out), "--format", kind, *more])
        code = script(out).replace("A text.", text).replace('"."', repr(str(out)))
        capsys.readouterr()
        found: dict[str, object] = {}
        exec(compile(code, "README.md", "exec"), found)
        assert capsys.readouterr().out.strip() == f"['{label}']"
        assert found["inputs"]["input_ids"].shape[0] > 2 and found["logits"].shape == (1, 2)
        assert "a pipeline reads the first alone" in (out / "README.md").read_text()
