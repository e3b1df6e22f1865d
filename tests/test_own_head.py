"""A head in a package of one's own, by configuration: every way of tuning and every command work with it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import KILLER, ROOT, TRAIN, command, write_reviews

from lightune.commands import cli
from lightune.runs.load_run import rebuild

Train = Callable[..., dict[str, float]]

ACME = '''
"""Heads of one's own."""

import torch
from torch import nn


class TwoLayers(nn.Module):
    """Two layers on the first token's state and the mean of all."""

    def __init__(self, *, hidden_size: int, num_labels: int, width: int = 16, dropout: float = 0.1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * hidden_size, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, num_labels)
        )

    def forward(self, hidden_states, attention_mask):
        mask = attention_mask.unsqueeze(-1).to(hidden_states.dtype)
        mean = (hidden_states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return self.layers(torch.cat([hidden_states[:, 0], mean], dim=-1))


class Tags(nn.Module):
    """A convolution over tokens."""

    def __init__(self, *, hidden_size, num_labels, width=16):
        super().__init__()
        self.convolution = nn.Conv1d(hidden_size, width, kernel_size=3, padding=1)
        self.output = nn.Linear(width, num_labels)

    def forward(self, hidden_states, attention_mask):
        hidden_states = hidden_states * attention_mask.unsqueeze(-1)
        return self.output(self.convolution(hidden_states.transpose(1, 2)).transpose(1, 2).relu())


class OneTooMany(TwoLayers):
    def forward(self, hidden_states, attention_mask):
        return super().forward(hidden_states, attention_mask).unsqueeze(1)


class Nothing(TwoLayers):
    def forward(self, hidden_states, attention_mask):
        return {"logits": 1}


def factory(*, hidden_size, num_labels):
    return TwoLayers(hidden_size=hidden_size, num_labels=num_labels, width=4)


def no_head(*, size):
    return TwoLayers(hidden_size=size, num_labels=2)
'''
HEAD = "task.head={_target_: acme_heads.TwoLayers, width: 8}"
TAGS = "task.head={_target_: acme_heads.Tags}"


@pytest.fixture(autouse=True)
def acme(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "acme"
    folder.mkdir(exist_ok=True)
    (folder / "acme_heads.py").write_text(ACME)
    (folder / "killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("LIGHTUNE_ALLOWED_TARGETS", "acme_heads,killer")
    return folder


def write_tags(path: Path, rows: int = 40) -> Path:
    row = {"tokens": ["a", "good", "plot"], "ner_tags": ["O", "B-X", "I-X"]}
    path.write_text((json.dumps(row) + "\n") * rows)
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    cli.main([*arguments])
    return capsys.readouterr().out


TUNINGS = ["full", "frozen tuning.num_layers=all", "lora", "bitfit", "gradual", "linear_probe_then_full"]


@pytest.mark.parametrize("tuning", TUNINGS)
def test_each_way_of_tuning_trains_the_head_and_finds_its_figures_again(
    train_here: Train, reviews: Path, tmp_path: Path, tuning: str, capsys: pytest.CaptureFixture[str]
):
    metrics = train_here(
        "data=local",
        f"data.path={reviews}",
        HEAD,
        *f"tuning={tuning}".split(),
        "optimizer.lr=1e-2",
        "trainer.max_epochs=1",
    )
    # nothing is known of what it does with the outputs of its layers
    assert metrics["calibration/temperature"] == 1
    run = str(tmp_path / "run")
    model = rebuild(tmp_path / "run")[1].model
    assert type(model.classifier).__name__ == "TwoLayers"
    assert model.classifier.layers[0].out_features == 8
    assert model.encoder.pooler is None
    assert f"{metrics['test/loss']:.4f}" in printed(capsys, "evaluate", run)
    assert '"label"' in printed(capsys, "predict", run, "--text", "a good film")
    assert "good" in printed(capsys, "explain", run, "--text", "a good film")


@pytest.mark.parametrize("tuning", ["full", "frozen tuning.num_layers=1", "lora"])
def test_tokens_have_a_head_of_ones_own(
    train_here: Train, tmp_path: Path, tuning: str, capsys: pytest.CaptureFixture[str]
):
    data = write_tags(tmp_path / "tags.jsonl")
    metrics = train_here(
        "task=token_classification", "data=local", f"data.path={data}", "data.doc_stride=8", TAGS,
        *f"tuning={tuning}".split(), "optimizer.lr=1e-2", "trainer.max_epochs=6",
    )  # fmt: skip
    assert metrics["test/f1"] > 0.9
    run = str(tmp_path / "run")
    assert type(rebuild(tmp_path / "run")[1].model.classifier).__name__ == "Tags"
    assert f"{metrics['test/loss']:.4f}" in printed(capsys, "evaluate", run)
    assert '"type": "X"' in printed(capsys, "predict", run, "--text", "a good plot")
    assert "good" in printed(capsys, "explain", run, "--text", "a good plot")


def test_on_two_devices_a_resumed_run_is_as_one_never_stopped(tiny_bert: Path, tmp_path: Path):
    data = write_reviews(tmp_path / "reviews.csv", 81)

    def train(run: str, *settings: str) -> Any:
        return command(
            TRAIN, "data=local", f"data.path={data}", f"model.pretrained_model_name_or_path='{tiny_bert}'", HEAD,
            "data.max_length=32", "data.batch_size=4", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
            "report=false", "trainer.max_epochs=2", "trainer.precision=32-true", f"hydra.run.dir={tmp_path / run}",
            *settings,
        )  # fmt: skip

    done = train("whole")
    assert done.returncode == 0, done.stderr
    kill = ["+callbacks.kill._target_=killer.Kill", "+callbacks.kill.epoch=1", "+callbacks.kill.batch=2"]
    assert train("halves", *kill).returncode != 0
    done = command("-m", "lightune.commands", "resume", str(tmp_path / "halves"), "~callbacks.kill")
    assert done.returncode == 0, done.stderr
    whole, halves = (json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("whole", "halves"))
    figures = [name for name in whole if name.startswith(("val/", "test/"))]
    assert {name: whole[name] for name in figures} == {name: halves[name] for name in figures}
    done = command("-m", "lightune.commands", "evaluate", str(tmp_path / "whole"))
    assert f"{whole['test/loss']:.4f}" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("OneTooMany", "task.head: OneTooMany gives shape (10, 1, 2) for a batch of 10 x 11 tokens"),
        ("Nothing", "task.head: Nothing gives a dict"),
        ("no_head", "task: missing a required argument: 'size'"),
        ("absent", "absent"),
    ],
)
def test_what_is_no_head_is_refused(
    train_here: Train, reviews: Path, head: str, said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", f"task.head={{_target_: acme_heads.{head}}}")
    message = capsys.readouterr().err
    assert said in message, message
    assert len(message.splitlines()) <= 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["task.head=5"], "task.head=5: expected _target_ with its options or null"),
        (["task.head={width: 8}"], "task.head"),
        (["task.head={_target_: acme_heads.TwoLayers, wide: 8}"], "There is no option 'task.head.wide'"),
        (["task=question_answering", "+task.head={_target_: acme_heads.TwoLayers}"], "takes no head of one's own"),
    ],
)
def test_options_are_checked_first(
    train_here: Train, reviews: Path, settings: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={reviews}", *settings)
    assert said in capsys.readouterr().err


def trained(folder: Path) -> dict[str, torch.Tensor]:
    return dict(rebuild(folder)[1].model.classifier.state_dict())


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_from_run_loads_a_head_of_ones_own_its_output_by_labels(
    train_here: Train, reviews: Path, tmp_path: Path, tuning: str, caplog: pytest.LogCaptureFixture
):
    settings = ("data=local", f"data.path={reviews}", HEAD, "optimizer.lr=1e-2", "trainer.max_steps=3")
    train_here(*settings, f"tuning={tuning}")
    before = Path(shutil.move(tmp_path / "run", tmp_path / "before"))
    old = trained(before)
    names = "data.label_names=[positive,negative]"
    train_here(*settings, names, "optimizer.lr=1e-12", f"model.from_run={before}")
    assert "keeps the row of each label by its name" in caplog.text
    new = trained(tmp_path / "run")
    torch.testing.assert_close(new["layers.0.weight"], old["layers.0.weight"])
    torch.testing.assert_close(new["layers.3.weight"], old["layers.3.weight"].flip(0))
    torch.testing.assert_close(new["layers.3.bias"], old["layers.3.bias"].flip(0))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (HEAD, "task.head=null"),
        ("task.head=null", HEAD),
        ("model.pooling=null", HEAD),
        (HEAD, "model.pooling=null"),
        (HEAD, "task.head={_target_: acme_heads.TwoLayers, width: 9}"),
        (HEAD, "task.head={_target_: lightune.models.heads.MeanPooling}"),
    ],
)
def test_a_head_of_another_kind_is_new_and_says_so(
    train_here: Train, reviews: Path, tmp_path: Path, before: str, now: str, caplog: pytest.LogCaptureFixture
):
    settings = ("data=local", f"data.path={reviews}", "trainer.max_steps=1")
    train_here(*settings, before)
    assert "The head of" not in caplog.text
    train_here(*settings, now, f"model.from_run={shutil.move(tmp_path / 'run', tmp_path / 'before')}")
    assert "is new: its own " in caplog.text


def test_pooling_by_name_and_by_class_are_one_head(train_here: Train, reviews: Path, tmp_path: Path):
    settings = ("data=local", f"data.path={reviews}", "trainer.max_steps=3")
    by_name = train_here(*settings, "model.pooling=mean")
    by_class = train_here(*settings, "model.pooling=null", "task.head={_target_: lightune.models.heads.MeanPooling}")
    assert by_name["test/loss"] == by_class["test/loss"]


def test_onnx_computes_what_the_head_computes(train_here: Train, reviews: Path, tmp_path: Path, capsys):
    pytest.importorskip("onnxruntime")
    train_here("data=local", f"data.path={reviews}", HEAD, "trainer.max_steps=3")
    out = printed(capsys, "export", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--format", "onnx")
    assert "ONNX: its logits are PyTorch's" in out


EXPORTS = {
    "pooled": (),
    "cls": ("model.pooling=cls",),
    "own": (HEAD, "task.criterion={_target_: lightune.tasks.losses.FocalLoss}"),
    "factory": ("task.head={_target_: acme_heads.factory}",),
    "lora": (HEAD, "tuning=lora"),
    "tokens": ("task=token_classification", "data.doc_stride=8", TAGS),
}
WITHOUT_LIGHTUNE = """
import json, os, sys, torch, traceback
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, pipeline
from transformers.models.bert import modeling_bert

def load(folder, auto_class, snippet, out):
    os.chdir(folder)
    auto = globals()[auto_class]
    try:
        auto.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        print("refused:", repr(error))  # one line
    model = auto.from_pretrained(folder, trust_remote_code=True)
    assert not any(name.startswith(("lightune", "acme")) for name in sys.modules)
    batch = AutoTokenizer.from_pretrained(folder)(["a superb film", "bad"], padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.save((model.eval()(**batch).logits, dict(batch)), f"{out}.pt")
    print("labels:", model.config.id2label)
    exec(snippet, {})

for line in sys.stdin:
    *arguments, out = json.loads(line)
    if os.fork() == 0:
        with open(f"{out}.txt", "w") as sys.stdout, open(os.devnull) as sys.stdin:
            try:
                load(*arguments, out)
            except Exception:
                traceback.print_exc(file=sys.stdout)
                os._exit(1)
        os._exit(0)
    print(os.wait()[1], flush=True)
"""


@pytest.fixture(scope="module")
def load_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Load an export in processes that have imported transformers alone; return what they printed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HOME": str(folder)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_LIGHTUNE], env=env, stdin=pipe, stdout=pipe, text=True, cwd=folder
    ) as server:

        def load(*arguments: str, out: Path) -> str:
            assert server.stdin is not None and server.stdout is not None
            print(json.dumps([*arguments, str(out)]), file=server.stdin, flush=True)
            status, printed = server.stdout.readline(), out.with_suffix(".txt").read_text()
            assert status == "0\n", printed
            return printed

        yield load


@pytest.mark.parametrize("name", EXPORTS)
def test_transformers_loads_an_export_with_its_head(
    train_here: Train, tmp_path: Path, name: str, load_elsewhere: Callable[..., str], capsys: pytest.CaptureFixture[str]
):
    data = write_tags(tmp_path / "x.jsonl") if name == "tokens" else write_reviews(tmp_path / "x.csv", 60)
    train_here("data=local", f"data.path={data}", "trainer.max_steps=3", "optimizer.lr=1e-2", *EXPORTS[name])
    run, folder = tmp_path / "run", tmp_path / "out"
    cli.main(["export", str(run), "--out", str(folder)])
    auto_class = f"AutoModelFor{'Token' if name == 'tokens' else 'Sequence'}Classification"
    card = (folder / "README.md").read_text()
    snippet = card.partition("```python\n")[2].partition("```")[0]
    printed = load_elsewhere(str(folder), auto_class, snippet, out=tmp_path / "loaded")
    # without consent nothing is loaded, rather than a random head
    # transformers prints lines of its own between these
    refused, labels = printed.partition("refused:")[2].split("labels:")
    labels, answer = labels.split("\n", maxsplit=1)
    assert "trust_remote_code" in refused
    found, batch = torch.load(tmp_path / "loaded.pt")
    with torch.no_grad():
        wanted = rebuild(run)[1].model.eval()(**batch).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert "B-X" in labels or "positive" in labels
    assert "positive" in answer or "negative" in answer or "O" in answer
    assert [file.name for file in folder.glob("*.py")] == ["modeling_head.py"]
    assert "trust_remote_code=True" in card.partition("```python")[0]
    with pytest.raises(SystemExit):
        train_here("data=local", f"data.path={data}", *EXPORTS[name], f"model.pretrained_model_name_or_path={folder}")
    assert "is the export of a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [("import rich", "imports rich"), ("from . import heads", "imports ."), ("from lightune import x", "lightune")],
)
def test_a_head_whose_module_needs_more_is_not_exported(
    train_here: Train,
    reviews: Path,
    tmp_path: Path,
    acme: Path,
    line: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
):
    train_here("data=local", f"data.path={reviews}", "trainer.max_steps=1", HEAD)
    source = acme / "acme_heads.py"
    source.write_text(f"{ACME}\n\ndef later():\n    {line}\n")
    with pytest.raises(SystemExit):
        cli.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    message = capsys.readouterr().err
    assert said in message and "--format onnx" in message
    assert not (tmp_path / "out").exists()


def test_the_example_of_the_docs_gives_the_same_figures_everywhere(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    page = (ROOT / "docs" / "guides" / "own-head.md").read_text()
    (python, toml, yaml) = (
        page.partition(f"```{name}\n")[2].partition("```")[0] for name in ("python", "toml", "yaml")
    )
    words = page.partition("```\npython ")[2].partition(" data=imdb")[0].split()
    assert len(python.splitlines()) <= 60 and len(yaml.splitlines()) <= 15
    (tmp_path / "acme/conf/experiment").mkdir(parents=True)
    (tmp_path / "acme/acme_reviews.py").write_text(python)
    (tmp_path / "acme/conf/experiment/acme.yaml").write_text(yaml)
    (tmp_path / "acme/pyproject.toml").write_text(toml)
    data = write_reviews(tmp_path / "reviews.csv", 120)
    more = [
        "data=local", f"data.path={data}", f"model.pretrained_model_name_or_path='{tiny_bert}'", "data.max_length=32",
        "optimizer.lr=3e-3", "trainer=cpu", "trainer.max_epochs=2", "report=false",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path / "acme")
    run = tmp_path / "run"
    done = command(*words, *more, f"hydra.run.dir={run}", cwd=tmp_path / "acme")
    assert done.returncode == 0, done.stderr
    assert "loss (FocalLoss)" in done.stdout and "auroc" in done.stdout
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["monitored"] == metrics["val/auroc"]
    evaluated = printed(capsys, "evaluate", str(run))
    for name in ("loss", "auroc", "accuracy"):
        assert f"{metrics[f'val/{name}']:.4f} │ {metrics[f'test/{name}']:.4f}" in evaluated
    probabilities = json.loads(printed(capsys, "predict", str(run), "--text", "a good film"))["probabilities"]
    explained = printed(capsys, "explain", str(run), "--text", "a good film")
    assert f"{max(probabilities.values()):.3f}" in explained or f"{max(probabilities.values()):.2f}" in explained
    assert "its logits are PyTorch's" in printed(
        capsys, "export", str(run), "--out", str(tmp_path / "onnx"), "--format", "onnx"
    )
    again = command(
        *words, *more, f"model.from_run={run}", "optimizer.lr=1e-12", "trainer.max_steps=1",
        f"hydra.run.dir={tmp_path / 'again'}", cwd=tmp_path / "acme",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    unmoved = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert unmoved["test/auroc"] == pytest.approx(metrics["test/auroc"], abs=1e-4)
    assert unmoved["test/loss"] == pytest.approx(metrics["test/loss"], abs=1e-4)
