"""The figures and texts of a causal language model before its first step."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import save_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from lightune.commands.open_run import load
from lightune.runs.run_folder import Run
from lightune.training.measure_pretrained import measure_pretrained


@pytest.fixture
def dialogue(tmp_path: Path) -> list[str]:
    """The settings of a small dialogue run with a causal language model."""
    model, path = tmp_path / "gpt2", tmp_path / "rows.jsonl"
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=80, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=3, eos_token_id=3)
    GPT2LMHeadModel(config).save_pretrained(model)
    tokenizer = save_tokenizer(model)
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(model)
    rows = [
        {"messages": [{"role": "user", "content": f"{word} film {i}"}, {"role": "assistant", "content": word}]}
        for i, word in enumerate(["good", "bad", "fine", "poor"] * 15)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    settings = ["data=local", "task=dialogue", f"model.pretrained_model_name_or_path='{model}'", f"data.path='{path}'"]
    return [*settings, "task.generation.max_new_tokens=5", "optimizer.lr=1e-2", "trainer.max_epochs=2"]


def test_the_pretrained_model_is_measured_and_training_goes_as_without(train_here, dialogue: list[str], tmp_path: Path):
    with_it = train_here(*dialogue, "task.generation.max_samples=4", "report=true")
    run, kept = Run(tmp_path / "run"), tmp_path / "kept"
    before = {name: value for name, value in with_it.items() if name.startswith("pretrained/")}
    assert before["pretrained/perplexity"] > 2 * with_it["test/perplexity"]
    assert before.keys() >= {"pretrained/loss", "pretrained/bleu", "pretrained/repetition"}
    assert len(json.loads(run.pretrained.read_text())["texts"]) == 4
    page = run.report.read_text()
    assert "Before fine-tuning and after" in page
    assert f"{before['pretrained/perplexity']:.4f}" in page
    # a run that goes on keeps them
    assert measure_pretrained(None, load(run.folder)[1], None, run) == before
    shutil.move(run.folder, kept)
    without = train_here(*dialogue, "task.generation.max_samples=4", "measure_pretrained=false")
    figures = [name for name in without if name.startswith(("val/", "test/")) and name.count("/") == 1]
    assert {name: with_it[name] for name in figures} == {name: without[name] for name in figures}
    assert not any(name.startswith("pretrained/") for name in without)
    rows = [(folder / "metrics.csv").read_text().splitlines() for folder in (kept, run.folder)]
    assert rows[0][0] == rows[1][0]
