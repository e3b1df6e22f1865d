import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from architectures import every_architecture
from conftest import save_tokenizer
from transformers import AutoModelForSequenceClassification
from transformers.models.bert.modeling_bert import BertLayer

FROZEN = ["tuning=frozen", "tuning.num_layers=1", "data.batch_size=16", "trainer.max_epochs=3"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "trunk"


@pytest.fixture
def rows_run(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """The number of rows in each pass through a layer, and whether the layer was frozen."""
    passes: list[tuple[int, bool]] = []
    forward = BertLayer.forward

    def counting(self: BertLayer, hidden_states: torch.Tensor, *args: object, **kwargs: object) -> object:
        frozen = not any(parameter.requires_grad for parameter in self.parameters())
        passes.append((len(hidden_states), frozen))
        return forward(self, hidden_states, *args, **kwargs)

    monkeypatch.setattr(BertLayer, "forward", counting)
    return passes


def cached_files(cache: Path) -> list[Path]:
    return [file for file in cache.iterdir() if file.suffix != ".lock"]


def rows_through(passes: list[tuple[int, bool]], *, frozen: bool) -> int:
    return sum(rows for rows, was_frozen in passes if was_frozen == frozen)


def test_each_row_runs_through_the_frozen_layers_once_and_the_next_run_reads_the_cache(
    train_here: Callable[..., dict[str, float]], reviews: Path, cache: Path, rows_run: list[tuple[int, bool]]
):
    arguments = ["data=local", f"data.path={reviews}", *FROZEN]
    train_here(*arguments)
    # 91 train, 11 validation, 18 test rows: the final validation and test run all layers
    first = rows_through(rows_run, frozen=True)
    assert len(cached_files(cache)) == 2
    assert first < rows_through(rows_run, frozen=False) / 2
    rows_run.clear()
    train_here(*arguments, "seed=1", "optimizer.lr=1e-3")
    assert rows_through(rows_run, frozen=True) <= first - 91, "the training rows were read from the cache"
    assert len(cached_files(cache)) == 2


@pytest.mark.parametrize("more", [[], ["data.max_length=6", "data.doc_stride=1"]], ids=["texts", "windows"])
def test_the_cache_does_not_change_what_is_learned(
    train_here: Callable[..., dict[str, float]], reviews: Path, cache: Path, more: list[str]
):
    arguments = ["data=local", f"data.path={reviews}", *FROZEN, "optimizer.lr=3e-3", *more]
    with_files = train_here(*arguments)
    assert len(cached_files(cache)) == 2
    plain = train_here(*arguments, "~callbacks.frozen_once")
    # states are cached in bfloat16
    assert with_files["val/loss"] == pytest.approx(plain["val/loss"], rel=0.02)
    assert with_files["test/loss"] == pytest.approx(plain["test/loss"], rel=0.02)


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("token_classification", '{"tokens": ["a", "good", "plot"], "tags": ["O", "B-X", "O"]}'),
        (
            "question_answering",
            '{"question": "a film", "context": "the story is a very good plot and a poor film with a plot", '
            '"answers": {"text": ["good plot"], "answer_start": [20]}}',
        ),
    ],
)
def test_windows_read_their_states(
    train_here: Callable[..., dict[str, float]], tmp_path: Path, cache: Path, task: str, row: str
):
    data = tmp_path / "rows.jsonl"
    data.write_text((row + "\n") * 40)
    columns = ["data.tokens_column=tokens", "data.label_column=tags"] if task == "token_classification" else []
    short = ["data.max_length=16", "data.doc_stride=4"]
    metrics = train_here("data=local", f"task={task}", f"data.path={data}", *columns, *short, *FROZEN)
    assert metrics["test/f1"] >= 0
    assert len(cached_files(cache)) == 2


def test_a_full_disk_is_reported_and_training_continues(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with caplog.at_level("INFO"):
        metrics = train_here("data=local", f"data.path={reviews}", *FROZEN)
    assert "run in every epoch" in caplog.text
    assert "free" in caplog.text
    assert "test/accuracy" in metrics
    assert not cached_files(cache)


def test_nothing_is_cached_when_all_weights_are_trained(
    train_here: Callable[..., dict[str, float]], reviews: Path, cache: Path
):
    train_here("data=local", f"data.path={reviews}", "trainer.max_epochs=1")
    assert not cache.exists()


def test_nothing_is_cached_under_gradual_unfreezing(
    train_here: Callable[..., dict[str, float]], reviews: Path, cache: Path
):
    train_here("data=local", f"data.path={reviews}", "tuning=gradual", "trainer.max_epochs=1")
    assert not cache.exists()


def test_nothing_is_cached_in_masked_language_modelling(
    train_here: Callable[..., dict[str, float]], reviews: Path, cache: Path
):
    train_here("data=local", "task=masked_lm", f"data.path={reviews}", "model.pooling=null", *FROZEN)
    assert not cache.exists()


def test_a_linear_probe_reads_the_cache_until_all_weights_are_trained(
    train_here: Callable[..., dict[str, float]], reviews: Path, cache: Path, rows_run: list[tuple[int, bool]]
):
    probe = ["tuning=linear_probe_then_full", "tuning.share=0.66", "data.batch_size=8", "trainer.max_epochs=3"]
    arguments = ["data=local", f"data.path={reviews}", *probe, "optimizer.lr=3e-3"]
    with_files = train_here(*arguments)
    assert len(cached_files(cache)) == 2
    # two layers: each of 91 + 11 rows once, and a few batches that test the cache
    assert rows_through(rows_run, frozen=True) < 2 * (91 + 11) * 1.5
    # the last epoch trains all weights: its rows and its validation run through the layers
    assert rows_through(rows_run, frozen=False) >= 2 * (91 + 11)
    plain = train_here(*arguments, "~callbacks.frozen_once")
    assert with_files["val/loss"] == pytest.approx(plain["val/loss"], rel=0.05)
    assert with_files["test/loss"] == pytest.approx(plain["test/loss"], rel=0.05)


def test_states_that_no_run_has_read_for_long_are_removed(
    train_here: Callable[..., dict[str, float]], reviews: Path, cache: Path
):
    arguments = ["data=local", f"data.path={reviews}", *FROZEN, "trainer.max_steps=1"]
    train_here(*arguments)
    first = cached_files(cache)
    for file in cache.iterdir():
        os.utime(file, (0, 0))
    train_here(*arguments, "data.max_length=16")
    assert not any(file.exists() for file in first)
    assert len(cached_files(cache)) == 2
    used = cached_files(cache)
    for file in used:
        os.utime(file, (0, 0))
    train_here(*arguments, "data.max_length=16")
    assert all(file.stat().st_mtime > 0 for file in used)


@pytest.mark.parametrize("name", ["mpnet", "xlnet", "funnel", "xlm"])
def test_the_cache_changes_no_figure_whatever_the_architecture(
    train_here: Callable[..., dict[str, float]], reviews: Path, cache: Path, tmp_path: Path, name: str
):
    folder = tmp_path / "model"
    save_tokenizer(folder)
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(every_architecture()[name]).save_pretrained(folder)
    model = [f"model.pretrained_model_name_or_path={folder}", "model.pooling=null"]
    arguments = ["data=local", f"data.path={reviews}", *model, *FROZEN, "optimizer.lr=3e-2"]
    cached = train_here(*arguments)
    plain = train_here(*arguments, "~callbacks.frozen_once")
    assert cached["test/loss"] == pytest.approx(plain["test/loss"], rel=0.02)
