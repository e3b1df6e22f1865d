import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import command, write_reviews
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from lightune.data.preprocessors.labels import head_of
from lightune.models.pretrained import PretrainedModel

Train = Callable[..., dict[str, float]]
HEADS = {"text": AutoModelForSequenceClassification, "entities": AutoModelForTokenClassification}
OLD = {"text": ["good", "bad", "so-so"], "entities": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]}


def rows(folder: Path, kind: str, names: list[str], old: list[str] | None = None, **options: Any) -> tuple[Any, Any]:
    """Return the weights of a saved head, and of the head that is loaded for other labels."""
    auto_class = HEADS[kind]
    source = PretrainedModel(pretrained_model_name_or_path=str(folder))
    model = source.load_model(auto_class, **head_of(old or OLD[kind]))
    torch.nn.init.normal_(model.classifier.bias)
    model.save_pretrained(folder)
    loaded = source.load_model(auto_class, **head_of(names), **options)
    assert [loaded.config.id2label[index] for index in range(len(names))] == names
    assert loaded.num_labels == len(names)
    return model.classifier, loaded.classifier


@pytest.fixture
def folder(tiny_bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


@pytest.mark.parametrize("kind", HEADS)
def test_rows_follow_the_names_of_their_labels(folder: Path, kind: str, caplog: pytest.LogCaptureFixture):
    names = list(reversed(OLD[kind]))
    trained, loaded = rows(folder, kind, names)
    for row, name in enumerate(names):
        assert torch.equal(loaded.weight[row], trained.weight[OLD[kind].index(name)]), name
        assert loaded.bias[row] == trained.bias[OLD[kind].index(name)]
    assert "keeps the row of each label by its name" in caplog.text


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("number", ["fewer", "as many", "more"])
def test_labels_that_are_new_or_gone_are_told(folder: Path, kind: str, number: str, caplog: pytest.LogCaptureFixture):
    old = OLD[kind]
    new = {"fewer": [old[2], old[0]], "as many": ["new", *old[:-1]], "more": ["new", *reversed(old), "newer"]}[number]
    trained, loaded = rows(folder, kind, new)
    for row, name in enumerate(new):
        if name in old:
            assert torch.equal(loaded.weight[row], trained.weight[old.index(name)]), name
        else:
            assert not (loaded.weight[row] == trained.weight).all(dim=1).any()
            assert f"new: {name}" in caplog.text or f"{name}" in caplog.text
            assert loaded.bias[row] == 0
    gone = [name for name in old if name not in new]
    assert ("gone: " + ", ".join(gone) in caplog.text) == bool(gone)


def test_a_head_without_a_label_of_the_data_is_new_and_says_so(folder: Path, caplog: pytest.LogCaptureFixture):
    trained, loaded = rows(folder, "text", ["positive", "negative", "neither"])
    assert not torch.isin(loaded.weight, trained.weight).any()
    assert "is new: none of its labels (good, bad, so-so) is one of the data's" in caplog.text


def test_labels_that_differ_in_case_or_are_numbers_are_the_same(folder: Path, caplog: pytest.LogCaptureFixture):
    trained, loaded = rows(folder, "text", ["BAD", "Good", "So-So"])
    assert torch.equal(loaded.weight, trained.weight[[1, 0, 2]])
    trained, loaded = rows(folder, "text", ["1", "0"], old=["LABEL_0", "LABEL_1"])
    assert torch.equal(loaded.weight, trained.weight[[1, 0]])
    trained, loaded = rows(folder, "text", ["a", "A"], old=["A", "a"])
    assert torch.equal(loaded.weight, trained.weight[[1, 0]])


def test_the_head_of_a_regression_is_kept(folder: Path, caplog: pytest.LogCaptureFixture):
    trained, loaded = rows(folder, "text", ["value"], old=["LABEL_0"], problem_type="regression")
    assert torch.equal(loaded.weight, trained.weight)
    assert "The head of" not in caplog.text


def test_a_model_without_a_head_says_nothing(tiny_bert: Path, caplog: pytest.LogCaptureFixture):
    source = PretrainedModel(pretrained_model_name_or_path=str(tiny_bert), pooling="mean")
    for names in (["a", "b"], ["a", "b", "c"]):
        source.load_classifier(HEADS["text"], **head_of(names))
        for auto_class in HEADS.values():
            source.load_model(auto_class, **head_of(names))
    assert "The head of" not in caplog.text


@pytest.mark.parametrize("pooling", ["mean", "null"])
def test_a_run_goes_on_with_its_own_head_whatever_the_order_of_the_labels(
    train_here: Train, reviews: Path, tmp_path: Path, pooling: str
):
    test = write_reviews(tmp_path / "test.csv", 40, seed=1)
    paths = (f"+data.path.train={reviews}", f"+data.path.test={test}")
    settings = ("data=local", *paths, f"model.pooling={pooling}", "data.batch_size=8")
    learnt = train_here(*settings, "optimizer.lr=3e-3", "data.label_names=[positive,negative]")
    assert learnt["test/accuracy"] > 0.7
    before = shutil.move(tmp_path / "run", tmp_path / "before")
    unmoved = train_here(
        *settings, f"model.from_run={before}", "optimizer.lr=1e-12", "trainer.max_steps=1", "task.calibrate=false"
    )
    assert unmoved["test/accuracy"] == learnt["test/accuracy"]
    assert unmoved["test/loss"] == pytest.approx(learnt["test/loss"], rel=1e-3)
    if pooling == "mean":
        return
    exported = command("-m", "lightune.commands", "export", str(before), "--out", str(tmp_path / "exported"))
    assert exported.returncode == 0, exported.stderr
    folder = f"model.pretrained_model_name_or_path={tmp_path / 'exported'}"
    unmoved = train_here(*settings, folder, "optimizer.lr=1e-12", "trainer.max_steps=1", "task.calibrate=false")
    assert unmoved["test/loss"] == pytest.approx(learnt["test/loss"], rel=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "null"])
def test_a_head_that_does_not_fit_the_pooling_is_new_and_says_so(
    train_here: Train, reviews: Path, tmp_path: Path, pooling: str, caplog: pytest.LogCaptureFixture
):
    other = {"mean": "null", "null": "mean"}[pooling]
    settings = ("data=local", f"data.path={reviews}", "trainer.max_steps=1")
    train_here(*settings, f"model.pooling={other}")
    before = shutil.move(tmp_path / "run", tmp_path / "before")
    assert "The head of" not in caplog.text
    train_here(*settings, f"model.pooling={pooling}", f"model.from_run={before}")
    assert "is new: its own reads other states (model.pooling)" in caplog.text
