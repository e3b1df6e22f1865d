"""LoRA: the trained weights, the contents of checkpoints, and runs that are loaded again beside the pretrained weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from architectures import small, trainable
from conftest import save_tokenizer, write_reviews
from test_all_tasks import write_chats, write_pairs
from transformers import AutoModelForSequenceClassification

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.models.precision import halve_frozen
from lightune.models.pretrained import PretrainedModel
from lightune.runs.checkpoint_io import read_checkpoint
from lightune.runs.inference import Predictor, inference_trainer
from lightune.runs.load_run import rebuild, rebuild_data
from lightune.tuning import lora

SETTINGS = {
    "r": 4, "alpha": 8, "dropout": 0.0, "target_modules": None, "use_rslora": False, "use_dora": False,
}  # fmt: skip
TAGGED = '{"tokens": ["a", "good", "plot"], "tags": ["O", "B-X", "O"]}\n'
ASKED = (
    '{"question": "film", "context": "the story is a good plot", "answers": {"text": ["good"], "answer_start": [15]}}\n'
)


def classifier(folder: Path, **settings: object) -> torch.nn.Module:
    model = PretrainedModel(pretrained_model_name_or_path=str(folder)).load_model(
        AutoModelForSequenceClassification, num_labels=2
    )
    lora.lora(model.train(), **{**SETTINGS, **settings})
    return model


def test_the_head_and_a_change_to_queries_and_values_are_trained(tiny_bert: Path):
    names = trainable(classifier(tiny_bert))
    assert {"classifier.weight", "classifier.bias"} < names
    rest = names - {"classifier.weight", "classifier.bias"}
    assert rest and all("lora_" in name and ("query" in name or "value" in name) for name in rest)


@pytest.mark.parametrize(
    ("target_modules", "wanted"),
    [
        (["dense"], {"attention.output.dense", "intermediate.dense", "output.dense", "pooler.dense"}),
        (r".*layer\.1\..*query", {"query"}),
        ("all-linear", {"query", "key", "value", "dense"}),
    ],
)
def test_target_modules_never_include_the_head(tiny_bert: Path, target_modules: object, wanted: set[str]):
    names = {name for name in trainable(classifier(tiny_bert, target_modules=target_modules)) if "lora_A" in name}
    assert all(any(name.split(".lora_A")[0].endswith(end) for end in wanted) for name in names)
    assert all(any(name.split(".lora_A")[0].endswith(end) for name in names) for end in wanted)
    assert not any("classifier" in name for name in names)


def test_dropout_of_the_frozen_layers_stays_on(tiny_bert: Path):
    assert all(module.training for module in classifier(tiny_bert).modules())


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"target_modules": ["qurey"]}, "Linear layers of this model: .*query"), ({"r": 0}, "`r` should be")],
)
def test_impossible_settings_are_refused(tiny_bert: Path, settings: dict[str, object], said: str):
    with pytest.raises(UserError, match=said) as refused:
        classifier(tiny_bert, **settings)
    assert len(str(refused.value).splitlines()) <= 5


def test_a_matrix_shared_by_two_layers_is_refused():
    with pytest.raises(UserError, match=r"transformer\.wte shares its weights"):
        lora.lora(small("gpt2"), **{**SETTINGS, "target_modules": ["wte"]})


def test_the_merged_model_computes_the_same(tiny_bert: Path):
    batch = {"input_ids": torch.arange(5, 25).view(2, 10), "attention_mask": torch.ones(2, 10).long()}
    for settings in ({}, {"use_dora": True}, {"use_rslora": True, "target_modules": "all-linear"}):
        model = classifier(tiny_bert, **settings).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
            adapted = model(**batch).logits
            lora.merge(model)
            torch.testing.assert_close(model(**batch).logits, adapted, rtol=0, atol=1e-5)
        assert (
            model.state_dict().keys()
            == AutoModelForSequenceClassification.from_pretrained(tiny_bert).state_dict().keys()
        )


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=local"],
        ["data=local", "model.pooling=null", "tuning.use_dora=true", "tuning.target_modules=all-linear"],
        ["data=local", "task=masked_lm"],
        [
            "task=token_classification",
            "data=local",
            "data.tokens_column=tokens",
            "data.label_column=tags",
            "data.doc_stride=8",
        ],
        ["task=question_answering", "data=local", "data.doc_stride=8"],
        ["task=translation", "data=local", "data.max_target_length=8"],
        ["task=dialogue", "data=local", "task.generation.max_new_tokens=5"],
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_every_task_learns_and_is_loaded_again(
    train_here: Callable[..., dict[str, float]],
    tmp_path: Path,
    tiny_bert: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
):
    """Another process has only the checkpoint of the trained weights and the name of the pretrained model."""
    data = tmp_path / "rows.jsonl"
    if "task=translation" in overrides:
        write_pairs(data, 60)
    elif "task=dialogue" in overrides:
        write_chats(data, 60)
    elif "task=token_classification" in overrides:
        data.write_text(TAGGED * 60)
    elif "task=question_answering" in overrides:
        data = tmp_path / "train.jsonl"
        data.write_text(ASKED * 60)
    else:
        data = write_reviews(tmp_path / "reviews.csv", 60)
    metrics = train_here(f"data.path={data}", "tuning=lora", "trainer.max_epochs=1", "optimizer.lr=1e-2", *overrides)
    assert 0 < metrics["parameters/trainable"] < metrics["parameters/total"]
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert any("lora_B" in name for name in checkpoint["state_dict"])
    assert not any("base_layer" in name or "embeddings" in name for name in checkpoint["state_dict"])
    held = sum(tensor.numel() for tensor in checkpoint["state_dict"].values())
    assert held == metrics["parameters/trainable"]
    assert len(checkpoint["optimizer_states"][0]["state"]) == len(checkpoint["state_dict"])
    capsys.readouterr()
    cli.main(["evaluate", str(tmp_path / "run")])
    printed = capsys.readouterr().out
    for name, value in metrics.items():
        if name.startswith(("val/", "test/")) and name.count("/") == 1:
            assert f"{value:.4f}" in printed, name


@pytest.fixture
def tiny_qwen(tmp_path: Path) -> Path:
    """A random decoder of two layers and its tokenizer, in the Hub's layout."""
    save_tokenizer(tmp_path / "tiny qwen")
    small("qwen").save_pretrained(tmp_path / "tiny qwen")
    return tmp_path / "tiny qwen"


def dtypes(model: torch.nn.Module, *, trained: bool) -> set[torch.dtype]:
    return {parameter.dtype for parameter in model.parameters() if parameter.requires_grad is trained}


@pytest.mark.parametrize("dora", [False, True])
def test_a_decoder_computes_beside_frozen_weights_in_bfloat16(
    train_here: Callable[..., dict[str, float]], tiny_qwen: Path, tmp_path: Path, dora: bool
):
    """Every use of the run computes as training did; what is exported is rebuilt in float32."""
    chats, run = write_chats(tmp_path / "chats.jsonl", 60), tmp_path / "run"
    metrics = train_here(
        "task=dialogue", "data=local", f"data.path={chats}", f"model.pretrained_model_name_or_path='{tiny_qwen}'",
        "tuning=lora", f"tuning.use_dora={dora}", "optimizer.lr=1e-2", "trainer.precision=bf16-mixed",
        "trainer.max_epochs=1", "task.generation.max_new_tokens=5",
    )  # fmt: skip
    state = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    _, task, preprocessor = rebuild(run)
    assert dtypes(task.model, trained=False) == {torch.float32}
    (again,) = inference_trainer("bf16-mixed").test(task, rebuild_data(run), verbose=False)
    del again["test/generation/tokens_per_second"]
    assert again == {name: metrics[name] for name in again}
    assert dtypes(task.model, trained=False) == {torch.bfloat16}
    assert dtypes(task.model, trained=True) == {torch.float32}
    rows = [([{"role": "user", "content": "good"}],)]
    used = rebuild(run)[1]
    assert Predictor(used, preprocessor, precision="bf16-mixed").predict(rows)
    assert dtypes(used.model, trained=False) == {torch.bfloat16}


def test_an_encoder_keeps_its_frozen_weights_in_float32(tiny_bert: Path):
    model = classifier(tiny_bert)
    halve_frozen(model, "bf16-mixed")
    assert dtypes(model, trained=False) == {torch.float32}


@pytest.fixture
def lora_run(train_here: Callable[..., dict[str, float]], reviews: Path, tmp_path: Path) -> Path:
    """A finished run with adapters, under BERT's own head."""
    train_here(
        "data=local", f"data.path={reviews}", "model.pooling=null", "tuning=lora", "optimizer.lr=1e-2",
        "trainer.max_epochs=1",
    )  # fmt: skip
    return (tmp_path / "run").rename(tmp_path / "lora run")


def test_a_run_starts_from_merged_weights(lora_run: Path, train_here: Callable[..., dict[str, float]], reviews: Path):
    before = json.loads((lora_run / "metrics.json").read_text())
    after = train_here(
        "data=local", f"data.path={reviews}", "model.pooling=null", f"model.from_run='{lora_run}'",
        "optimizer.lr=0", "trainer.max_epochs=1",
    )  # fmt: skip
    for name in ("val/loss", "test/loss"):
        assert after[name] == pytest.approx(before[name], abs=1e-5)
    assert after["parameters/total"] < before["parameters/total"], "adapters are merged"


def test_adapters_on_top_of_a_run_with_adapters_are_loaded_again(
    lora_run: Path, train_here: Callable[..., dict[str, float]], reviews: Path, tmp_path: Path, capsys
):
    metrics = train_here(
        "data=local", f"data.path={reviews}", "model.pooling=null", f"model.from_run='{lora_run}'", "tuning=lora",
        "trainer.max_epochs=1",
    )  # fmt: skip
    cli.main(["evaluate", str(tmp_path / "run")])
    assert f"{metrics['test/loss']:.4f}" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        cli.main(list(arguments))
    said = capsys.readouterr().err
    assert len(said.splitlines()) <= 5
    return said


def test_a_checkpoint_that_lacks_a_trained_weight_is_refused(lora_run: Path, capsys: pytest.CaptureFixture[str]):
    best = lora_run / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(best)
    del checkpoint["state_dict"]["model.classifier.bias"]
    torch.save(checkpoint, best)
    said = refused(capsys, "predict", str(lora_run), "--text", "x")
    assert "lacks 1 trained weights, the first is model.classifier.bias" in said


def test_a_relative_path_to_the_pretrained_model_starts_at_the_runs_working_directory(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    shutil.copytree(tiny_bert, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    train_here(
        "data=local", f"data.path={reviews}", "model.pretrained_model_name_or_path=base", "tuning=lora",
        "trainer.max_steps=1",
    )  # fmt: skip
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    cli.main(["predict", str(tmp_path / "run"), "--text", "good"])
    assert '"label"' in capsys.readouterr().out


def test_changed_pretrained_weights_are_refused(
    train_here: Callable[..., dict[str, float]],
    reviews: Path,
    tiny_bert: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    base = tmp_path / "base"
    shutil.copytree(tiny_bert, base)
    train_here(
        "data=local", f"data.path={reviews}", f"model.pretrained_model_name_or_path={base}", "tuning=lora",
        "trainer.max_epochs=1",
    )  # fmt: skip
    run = str(tmp_path / "run")
    model = AutoModelForSequenceClassification.from_pretrained(base)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[0, 0] += 1e-3
    model.bert.save_pretrained(base)
    assert "not those that the run was trained on" in refused(capsys, "predict", run, "--text", "x")
    shutil.rmtree(base)
    said = refused(capsys, "predict", run, "--text", "x")
    assert "there is no folder" in said and str(base) in said
