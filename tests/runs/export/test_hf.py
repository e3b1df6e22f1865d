"""What is exported computes in plain transformers, and in peft, what the run computes."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from architectures import small
from conftest import command, save_tokenizer, write_reviews
from peft import PeftModel
from test_all_tasks import write_chats, write_pairs
from transformers import AutoTokenizer

from lightune.commands import cli
from lightune.runs.load_run import rebuild

TOLERANCE = 1e-5  # of logits

FRESH = """
import sys, torch, transformers, peft
merged, adapter, base, texts = sys.argv[1:]
load = transformers.AutoModelForSequenceClassification.from_pretrained
models = {merged: load(merged), adapter: peft.PeftModel.from_pretrained(load(base, num_labels=2), adapter)}
assert not any(name.startswith("lightune") for name in sys.modules)
for folder, model in models.items():
    batch = transformers.AutoTokenizer.from_pretrained(folder)(texts.split("|"), padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.save(model.eval()(**batch).logits, f"{folder}.pt")
"""
TEXTS = ["a superb film", "the boring and awful plot is very bad"]


@pytest.fixture
def exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Export the run of ``train_here``; return the folder."""

    def run(*arguments: str) -> Path:
        folder = tmp_path / ("adapter" if arguments else "merged")
        capsys.readouterr()
        cli.main(["export", str(tmp_path / "run"), "--out", str(folder), *arguments])
        assert capsys.readouterr().out.strip() == str(folder)
        return folder

    return run


def logits(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        outputs = model.eval()(**inputs)
    return outputs.start_logits + outputs.end_logits if "start_logits" in outputs else outputs.logits


def test_another_process_needs_only_transformers_or_peft(
    train_here: Callable[..., dict[str, float]], exported, reviews: Path, tiny_bert: Path, tmp_path: Path
):
    train_here(
        "data=local", f"data.path={reviews}", "model.pooling=null", "tuning=lora", "optimizer.lr=1e-2",
        "trainer.max_epochs=1",
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    wanted = logits(rebuild(tmp_path / "run")[1].model, tokenizer(TEXTS, padding=True, return_tensors="pt"))
    folders = exported(), exported("--adapter")
    done = command("-c", FRESH, *map(str, (*folders, tiny_bert)), "|".join(TEXTS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for folder in folders:
        torch.testing.assert_close(torch.load(f"{folder}.pt"), wanted, rtol=0, atol=TOLERANCE)
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size < 40_000
    assert (tmp_path / "merged" / "model.safetensors").is_file()


def use_as_the_card_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(folder)
    exec(compile(script.group(1), "README.md", "exec"), {})


@pytest.mark.parametrize("way", ["full", "bitfit"])
def test_a_run_without_adapters_is_exported_too(
    train_here: Callable[..., dict[str, float]], exported, reviews: Path, tmp_path: Path, way: str
):
    train_here("data=local", f"data.path={reviews}", "model.pooling=null", f"tuning={way}", "trainer.max_epochs=1")
    inputs = {"input_ids": torch.arange(5, 25).view(2, 10), "attention_mask": torch.ones(2, 10).long()}
    wanted = logits(rebuild(tmp_path / "run")[1].model, inputs)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(exported())
    torch.testing.assert_close(logits(model, inputs), wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "task", "auto_class", "adapter"),
    [
        *((name, "text_classification", "SequenceClassification", True)
          for name in ("roberta", "distilbert", "deberta", "albert", "electra", "modernbert", "gpt2", "bart")),
        ("bert", "token_classification", "TokenClassification", True),
        ("bert", "question_answering", "QuestionAnswering", True),
        ("bert", "masked_lm", "MaskedLM", True),
        ("roberta", "masked_lm", "MaskedLM", True),
        ("bert", "dialogue", "CausalLM", True),
        ("gpt2", "dialogue", "CausalLM", True),
        ("qwen", "dialogue", "CausalLM", True),
        ("t5", "translation", "Seq2SeqLM", True),
        ("bart", "translation", "Seq2SeqLM", True),
        ("bert", "translation", "Seq2SeqLM", False),
    ],
)  # fmt: skip
def test_every_architecture_and_task(
    train_here: Callable[..., dict[str, float]],
    exported,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    task: str,
    auto_class: str,
    adapter: bool,
):
    base = tmp_path / "base"
    save_tokenizer(base)
    small(name).save_pretrained(base)
    data = tmp_path / "rows.jsonl"
    more = []
    if task == "translation":
        write_pairs(data, 40)
        more = ["data.max_target_length=8"]
    elif task == "dialogue":
        write_chats(data, 40)
    elif task in ("text_classification", "masked_lm"):
        data = write_reviews(tmp_path / "rows.csv", 40)
    else:
        row = {
            "tokens": ["a", "good", "plot"], "tags": ["O", "B-X", "O"], "question": "film",
            "context": "the story is a good plot", "answers": {"text": ["good"], "answer_start": [15]},
        }  # fmt: skip
        data.write_text((json.dumps(row) + "\n") * 40)
        more = ["data.doc_stride=8"]
        if task == "token_classification":
            more += ["data.tokens_column=tokens", "data.label_column=tags"]
    train_here(
        f"task={task}", "data=local", f"data.path={data}", f"model.pretrained_model_name_or_path={base}",
        "model.pooling=null", "tuning=lora", "optimizer.lr=1e-2", "trainer.max_epochs=1", *more,
    )  # fmt: skip
    ids = torch.randint(5, 40, (2, 7), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 3  # the end of text, where BART's head reads
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if task == "translation":
        inputs["decoder_input_ids"] = ids[:, :4]
    wanted = logits(rebuild(tmp_path / "run")[1].model, inputs)
    load = getattr(transformers, f"AutoModelFor{auto_class}").from_pretrained
    merged = load(exported())
    torch.testing.assert_close(logits(merged, inputs), wanted, rtol=0, atol=TOLERANCE)
    use_as_the_card_says(tmp_path / "merged", monkeypatch)
    if not adapter:
        return
    head = {"num_labels": merged.config.num_labels} if "Classification" in auto_class else {}
    head |= {"is_decoder": True} if (name, task) == ("bert", "dialogue") else {}
    adapted = PeftModel.from_pretrained(
        load(base, pad_token_id=merged.config.pad_token_id, **head), exported("--adapter")
    )
    torch.testing.assert_close(logits(adapted, inputs), wanted, rtol=0, atol=TOLERANCE)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        cli.main(["export", *arguments])
    said = capsys.readouterr().err
    assert len(said.splitlines()) <= 5
    return said


def test_what_cannot_be_exported_says_why_and_leaves_nothing(
    finished_run: Path, train_here: Callable[..., dict[str, float]], reviews: Path, tmp_path: Path, capsys
):
    out = tmp_path / "out"
    said = refused(capsys, str(finished_run), "--out", str(out), "--adapter")
    assert "model.pooling=null" in said and "leave --adapter out" in said
    train_here("data=local", f"data.path={reviews}", "model.pooling=null", "trainer.max_steps=1")
    run = str(tmp_path / "run")
    assert "it was not trained with tuning=lora" in refused(capsys, run, "--out", str(out), "--adapter")
    assert not out.exists() and not list(tmp_path.glob(".out-*"))
    assert "exists already" in refused(capsys, run, "--out", str(tmp_path))
