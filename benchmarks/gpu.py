"""Measure training on one NVIDIA GPU, beside transformers' Trainer; run the tests that need a GPU first.

python benchmarks/gpu.py [--steps 150] [--rounds 1] [--models bert_base qwen_0.5b] [--arms trainer ours …]

Nothing is downloaded: models are random, of the published sizes, and so are the texts. It takes about ten minutes.
``--smoke`` shows on any machine, in tiny sizes, that every arm runs; its figures mean nothing.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from speed import ROOT, flops_per_second, gemm_peak, run, run_and_read

TRAINER, PADDED = "trainer_grouped_bf16", "ours_padded"
OURS: dict[str, list[str]] = {
    "ours": [],
    PADDED: [],
    "ours_compiled": ["model.compile=true"],
    "ours_float32": ["trainer.precision=32-true"],
    "ours_ddp": ["trainer=ddp", "trainer.devices=1"],
    "ours_lora": ["tuning=lora"],
}
MODELS: dict[str, dict[str, Any]] = {
    "bert_base": {
        "model_type": "bert", "vocab_size": 30_522, "hidden_size": 768, "num_hidden_layers": 12,
        "num_attention_heads": 12, "intermediate_size": 3072,
    },
    "qwen_0.5b": {
        "model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 896, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864, "tie_word_embeddings": True,
    },
}  # fmt: skip
LETTERS = [chr(number) for number in range(ord("a"), ord("z") + 1)]
SMOKE = {
    "vocab_size": 1000,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def main() -> None:
    """Run the tests and every arm, print a table, and write all figures as JSON."""
    parser = argparse.ArgumentParser(description="Training on one GPU, beside the Trainer.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--arms", nargs="+", choices=[TRAINER, *OURS], default=[TRAINER, *OURS])
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="tiny models and four steps, on any machine")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.batch_size, arguments.steps, arguments.max_length = 4, 4, 32
    elif subprocess.run(["nvidia-smi", "--list-gpus"], check=False).returncode:
        sys.exit("There is no NVIDIA GPU here. --smoke runs every arm in tiny sizes without one.")
    else:
        subprocess.run([sys.executable, "-m", "pytest", "-m", "cuda", "-n", "0"], cwd=ROOT, check=False)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = write_texts(Path(folder) / "texts", rows=arguments.steps * arguments.batch_size)
        for name in arguments.models:
            model = Path(folder) / name
            sizes = save_model(model, {**MODELS[name], **(SMOKE if arguments.smoke else {})})
            for round_ in range(arguments.rounds):
                peak = gemm_peak()
                for arm in arguments.arms:
                    figures = run_arm(arm, arguments, model=model, data=data, seed=round_)
                    rows.append({"model": name, "arm": arm, "gemm_peak": peak, **sizes, **figures})
                    print(f"{name}, round {round_ + 1}, {arm}: {figures}", flush=True)
    arguments.out.write_text(json.dumps({"arguments": vars(arguments), "rows": rows}, indent=2, default=str) + "\n")
    print(table(rows))


def run_arm(arm: str, arguments: argparse.Namespace, *, model: Path, data: Path, seed: int) -> dict[str, Any]:
    """Run an arm in a process of its own; return its figures, or why there are none."""
    # the first half warms up, and compiles
    warm_up = arguments.steps // 2
    numbers = [arguments.max_length, arguments.batch_size, arguments.steps, seed, warm_up]
    overrides = [
        "data=local", f"data.path={data}", "model=bert", f"model.pretrained_model_name_or_path={model}", f"seed={seed}",
        f"data.max_length={arguments.max_length}", f"data.batch_size={arguments.batch_size}", "data.max_eval_samples=32",
        f"trainer.max_steps={arguments.steps}", f"trainer.log_every_n_steps={warm_up}", "report=false", *OURS.get(arm, []),
    ]  # fmt: skip
    try:
        if arm == TRAINER:
            return run_and_read("benchmarks/baselines.py", arm, str(model), str(data), *map(str, numbers))
        return train(["benchmarks/gpu.py", PADDED] if arm == PADDED else ["train.py"], overrides)
    except SystemExit as error:
        # an arm that fails is a finding too; the others still run
        return {"error": str(error).strip().splitlines()[-1]}


def train(script: list[str], overrides: list[str]) -> dict[str, float]:
    """Train in a process of its own; return the figures of its last logged steps."""
    with tempfile.TemporaryDirectory() as folder:
        run(*script, *overrides, f"hydra.run.dir={folder}")
        with (Path(folder) / "metrics.csv").open(encoding="utf-8", newline="") as file:
            logged = [row for row in csv.DictReader(file) if row["train/samples_per_second"]]
        peak = json.loads((Path(folder) / "metrics.json").read_text())["train/peak_memory_bytes"]
    names = ("samples_per_second", "tokens_per_second", "padding_efficiency")
    return {name: float(logged[-1][f"train/{name}"]) for name in names} | {"peak_memory_bytes": peak}


def train_padded(overrides: list[str]) -> None:
    """Run ``train.py`` in this process, with padding computed, which no option asks for."""
    from lightune import train as script
    from lightune.config import guarded_command_line
    from lightune.models import padding_free

    padding_free.has_kernel = lambda *_: False
    sys.argv[1:] = overrides
    with guarded_command_line():
        script.train()


def write_texts(folder: Path, *, rows: int, seed: int = 0) -> Path:
    """Write train, validation and test of random letters, a token each; lengths spread as those of film reviews do."""
    rng = random.Random(seed)
    folder.mkdir()
    for split, number in (("train", rows), ("validation", 32), ("test", 32)):
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for row in range(number):
                text = "".join(rng.choices(LETTERS, k=min(1000, round(rng.lognormvariate(5.4, 0.6)))))
                file.write(json.dumps({"text": text, "label": row % 2}) + "\n")
    return folder


def save_model(folder: Path, sizes: dict[str, Any]) -> dict[str, int]:
    """Save a random model and a tokenizer of letters; return the numbers that FLOPs are computed from."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    # transformers gives some architectures their own class of tokenizer, which reads BPE alone
    vocab = {token: index for index, token in enumerate(["[PAD]", "[UNK]", *LETTERS])}
    backend = Tokenizer(models.BPE(vocab, [], unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", model_max_length=512
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(**sizes, pad_token_id=0)
    model = AutoModel.from_config(config)
    model.save_pretrained(folder)
    embeddings = model.get_input_embeddings().weight.numel()
    weights = sum(parameter.numel() for parameter in model.parameters()) - embeddings
    return {"weights": weights, "layers": config.num_hidden_layers, "width": config.hidden_size}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the medians over rounds as a Markdown table."""
    lines = [
        "| model | arm | samples/s | against the Trainer | tokens/s | share of GEMM peak | peak GB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    by_arm: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_arm.setdefault((row["model"], row["arm"]), []).append(row)
    for (model, arm), measured in by_arm.items():
        if errors := [row["error"] for row in measured if "error" in row]:
            lines.append(f"| {model} | {arm} | failed: {errors[0]} | | | | |")
            continue
        speed = median(row["samples_per_second"] for row in measured)
        trainer = [row["samples_per_second"] for row in by_arm.get((model, TRAINER), []) if "error" not in row]
        shares = [
            flops_per_second(row, weights=row["weights"], layers=row["layers"], width=row["width"]) / row["gemm_peak"]
            for row in measured
        ]
        lines.append(
            f"| {model} | {arm} | {speed:.1f} | {f'{speed / median(trainer):.2f}' if trainer else ''} | "
            f"{median(row['tokens_per_second'] for row in measured):.0f} | {median(shares):.2f} | "
            f"{median(row['peak_memory_bytes'] for row in measured) / 1e9:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == [PADDED]:
        train_padded(sys.argv[2:])
    else:
        main()
