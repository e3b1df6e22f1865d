"""How the benchmarks evaluate their measurements; measuring needs a quiet machine."""

import argparse
import importlib.util
import json
import random
import time
from pathlib import Path
from types import ModuleType

import forked
import psutil
import pytest
from conftest import ROOT, save_tokenizer
from hydra import compose, initialize_config_dir
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from transformers import LlamaConfig, LlamaForCausalLM

from lightune.data.preprocessors.windows import Place
from lightune.runs.explain import Word, explain
from lightune.runs.load_run import rebuild


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("power", [0.0, 1.0, 1.7])
def test_the_exponent_of_growth_is_fitted(power: float, monkeypatch: pytest.MonkeyPatch):
    sizes = [64, 128, 256, 512]
    found = load("growth", monkeypatch).exponent(sizes, [3 * size**power for size in sizes])
    assert found == pytest.approx(power, abs=1e-9)


def test_inference_is_a_third_of_the_work_of_training(monkeypatch: pytest.MonkeyPatch):
    inference = load("inference", monkeypatch)
    rows, tokens = 10.0, 2000.0
    training = inference.flops_per_second({"samples_per_second": rows, "tokens_per_second": tokens})
    line = inference.table({"predict": rows}, length=tokens / rows, peak=training)[-1]
    assert line == "| `lightune predict` | 10.0 | 0.33 |"


def test_growth_is_a_table_with_exponents(monkeypatch: pytest.MonkeyPatch):
    runs = {rows: {"seconds": rows / 100, "peak_memory_bytes": 2e9} for rows in (500, 1000, 2000)}
    lines = load("growth", monkeypatch).table("rows", runs)
    assert lines[0] == "| rows | seconds | peak_memory_bytes |"
    assert lines[-2:] == ["| 2,000 | 20.0 | 2.00 |", "| exponent | 1.00 | 0.00 |"]


def test_a_record_is_the_mean_over_seeds(monkeypatch: pytest.MonkeyPatch):
    runs = [{"minutes": minutes, "accuracy": 0.9 + minutes / 100, "peak": 0.4} for minutes in (9.0, 10.0, 11.0)]
    line = load("time_to_accuracy", monkeypatch).table("imdb_speedrun_90", runs)[-1]
    assert line == "| imdb_speedrun_90 | 10.0 | 0.40 | 4.0 | 1.0000 ± 0.0100 | 0.9900, 1.0000, 1.0100 |"


def test_the_clock_tells_when_training_began_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = load("clock", monkeypatch).Clock(path=str(tmp_path / "clock.json"))
    before = time.time()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", max_steps=2, limit_val_batches=1, callbacks=[clock], **quiet)
    trainer.fit(BoringModel())
    trainer.test(BoringModel(), verbose=False)
    figures = json.loads((tmp_path / "clock.json").read_text())
    assert before <= figures["began"] < figures["ended"] <= figures["test_began"] < figures["test_ended"] <= time.time()
    assert 0 < figures["own_memory_bytes"] < psutil.Process().memory_info().rss


def test_few_labels_are_averaged_over_samples(monkeypatch: pytest.MonkeyPatch):
    accuracies = {"setfit": [0.8, 0.84], "plain": [0.5]}
    runs = [
        {"arm": arm, "rows": 8, "accuracy": accuracy, "train_seconds": 20.0, "seconds": 60.0}
        for arm, of_samples in accuracies.items()
        for accuracy in of_samples
    ]
    lines = load("few_labels", monkeypatch).table(runs)
    assert lines[2:] == ["| 8 | plain | 0.500 | 1 | 20 s | 60 s |", "| 8 | setfit | 0.820 ± 0.028 | 2 | 20 s | 60 s |"]


def test_the_plot_names_every_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("matplotlib")
    module = load("plot", monkeypatch)
    rounds = [{arm: {"samples_per_second": 1.0 + n} for n, arm in enumerate(module.NAMES)}] * 3
    measured = {"asked": {"max_length": 256}, "rounds": rounds}
    module.draw([json.loads(json.dumps(measured))] * 2, tmp_path / "speed.svg")
    drawn = (tmp_path / "speed.svg").read_text()
    assert all(name in drawn for name in module.NAMES.values())
    assert "256 tokens" in drawn


def test_every_arm_has_a_name_in_the_plot(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("matplotlib")
    speed = load("speed", monkeypatch)
    assert {*speed.BASELINES, *speed.OURS} == set(load("plot", monkeypatch).NAMES)


def test_the_gpu_table_tells_ratios_and_failures(monkeypatch: pytest.MonkeyPatch):
    sizes = {"model": "bert_base", "weights": 10**8, "layers": 12, "width": 768, "gemm_peak": 1e12}
    figures = {"samples_per_second": 8.0, "tokens_per_second": 800.0, "peak_memory_bytes": 2e9}
    gpu = load("gpu", monkeypatch)
    rows = [
        {**sizes, "arm": gpu.TRAINER, **figures, "samples_per_second": 4.0, "tokens_per_second": 400.0},
        {**sizes, "arm": "ours", **figures},
        {**sizes, "arm": "ours_compiled", "error": "CUDA out of memory"},
    ]
    trainer, ours, compiled = gpu.table(rows).splitlines()[2:]
    assert trainer == "| bert_base | trainer_grouped_bf16 | 4.0 | 1.00 | 400 | 0.24 | 2.00 |"
    assert ours == "| bert_base | ours | 8.0 | 2.00 | 800 | 0.49 | 2.00 |"
    assert "failed: CUDA out of memory" in compiled


@pytest.mark.slow
def test_the_gpu_benchmark_measures_a_model_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gpu = load("gpu", monkeypatch)
    arguments = ["gpu.py", "--smoke", "--models", "qwen_0.5b", "--arms", "ours", "--out", str(tmp_path / "gpu.json")]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr("sys.executable", forked.python())
    gpu.main()
    (row,) = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert row["samples_per_second"] > 0
    assert row["weights"] == 2 * (4 * 32 * 32 + 3 * 32 * 64) + 3 * 32 * 2 + 5 * 32


def test_deleting_top_words_is_compared_with_random_words(finished_run: Path, monkeypatch: pytest.MonkeyPatch):
    deletion = load("deletion", monkeypatch)
    _, task, preprocessor = rebuild(finished_run)
    explanations = [explain(task, preprocessor, [text])[0] for text in ("a superb film", "the plot is dire")]

    def probability(texts: list[str], labels: list[str]) -> list[float]:
        """1 where the word of the label is left."""
        return [
            float(("superb" if label == "positive" else "dire") in text)
            for text, label in zip(texts, labels, strict=True)
        ]

    falls = deletion.measure(explanations, probability, share=0.1, rng=random.Random(0))
    for explanation, top, chance in zip(explanations, *falls, strict=True):
        assert top == explanation.probability
        assert explanation.probability - 1 <= chance < top


def test_a_text_without_words_keeps_the_rest(monkeypatch: pytest.MonkeyPatch):
    deletion = load("deletion", monkeypatch)
    text = "so dull , so long"
    words = [Word(Place(0, start, end), text[start:end], 0.0, False) for start, end in ((3, 7), (13, 17))]
    assert deletion.without(text, words) == "so , so"


def test_the_baselines_of_a_causal_model_do_the_same_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    tokenizer = save_tokenizer(tmp_path / "model")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' [SEP] ' }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "model")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "model")
    measure = load("language_model", monkeypatch)
    rows = [{"dialogue": "a film " * number, "summary": "superb"} for number in range(1, 5)]
    measure.write(tmp_path / "rows.jsonl", rows)
    baselines = load("language_model_baselines", monkeypatch)
    figures = {}
    for arm in ("plain_loop", "trainer"):
        baselines.main(arm, str(tmp_path / "model"), str(tmp_path / "rows.jsonl"), max_length=64, batch_size=2, seed=0)
        figures[arm] = json.loads(capsys.readouterr().out.splitlines()[-1])
    measure.check_same_work(figures)
    assert figures["plain_loop"]["first_loss"] > 1
    figures["trainer"]["first_loss"] *= 1.1
    with pytest.raises(SystemExit, match="same loss"):
        measure.check_same_work(figures)
    figures["trainer"]["seconds"] *= 2
    with pytest.raises(SystemExit, match="same tokens"):
        measure.check_same_work(figures)


def test_the_table_of_a_causal_model_tells_ratios_of_rounds(monkeypatch: pytest.MonkeyPatch):
    names = ("tokens_per_second", "peak_memory_bytes", "first_loss")
    rounds = [
        {
            "plain_loop": dict(zip(names, (speed, 8e9, 2.8), strict=True)),
            "ours": dict(zip(names, (600.0, 2e9, 2.8), strict=True)),
        }
        for speed in (100.0, 150.0, 200.0)
    ]
    _, _, plain, ours = load("language_model", monkeypatch).table(rounds)
    assert plain == "| plain_loop | 150 | 4.00 | 8.00 | 0.25 | 2.800 |"
    assert ours == "| ours | 600 | 1.00 | 2.00 | 1.00 | 2.800 |"


def test_ours_trains_a_causal_model_as_the_baselines_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    measure = load("language_model", monkeypatch)
    asked = argparse.Namespace(model=str(tmp_path), max_length=512, batch_size=8, overrides=["seed=7"])
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", measure.recipe(asked, data=tmp_path, seed=0))
    prompt, _ = measure.messages({"dialogue": "Hi.", "summary": "A greeting."})
    assert prompt[0]["content"] == cfg.data.prompt.replace("{source}", "Hi.")
    assert (cfg.tuning.r, cfg.tuning.alpha, cfg.tuning.dropout) == (measure.RANK, measure.ALPHA, 0)
    assert (cfg.optimizer.lr, cfg.data.batch_size, cfg.seed) == (measure.LEARNING_RATE, 8, 7)


def test_the_tunings_are_compared_on_the_data_that_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    asked = argparse.Namespace(data=Path("/data"), rows=100, overrides=["data=dialogsum", "data.max_eval_samples=9"])
    assert load("tuning", monkeypatch).common(asked) == ["data.path=/data", "data.max_train_samples=100"]
