"""Measure training speed: a textbook loop, transformers' Trainer and this project, side by side.

python benchmarks/speed.py DATA [--max-length 256] [--arms trainer ours …]

DATA is a folder with ``text`` and ``label`` in the Hub's layout. The protocol is in README.md beside this file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODEL = "embedded:all-MiniLM-L6-v2"
BASELINES = (
    "padded_loop",
    "trainer",
    "trainer_grouped",
    "trainer_grouped_bf16",
    "trainer_grouped_bf16_no_attention_dropout",
)
OURS: dict[str, list[str]] = {
    "ours_bare_loop": [],
    "ours_attention_dropout": ["model.attention_dropout=null"],
    "ours": [],
}
# for the FLOPs of MiniLM's six layers: six per weight and token, twelve per score and number of a head
WEIGHTS, LAYERS, WIDTH = 10_646_784, 6, 384


def main() -> None:
    """Run every arm in turn, round by round; print medians and ratios, and write all figures as JSON."""
    parser = argparse.ArgumentParser(description="Training speed, side by side.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50, help="a pool of the Trainer's grouping (default: 50)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=[*BASELINES, *OURS], default=[*BASELINES, *OURS])
    parser.add_argument("--out", type=Path, default=Path("speed.json"))
    arguments = parser.parse_args()
    rounds: list[dict[str, dict[str, float]]] = []
    for seed in range(arguments.rounds):
        figures = {}
        for arm in arguments.arms:
            figures[arm] = {**run_arm(arm, arguments, seed=seed), "gemm_peak": gemm_peak()}
            print(f"round {seed + 1}: {arm:42} {figures[arm]['samples_per_second']:.2f} samples/s", flush=True)
        rounds.append(figures)
    medians = {
        arm: {name: statistics.median(figures[arm][name] for figures in rounds) for name in rounds[0][arm]}
        for arm in arguments.arms
    }
    arguments.out.write_text(json.dumps({"asked": vars(arguments), "rounds": rounds}, indent=2, default=str) + "\n")
    print("\n| arm | samples/s | against ours | tokens/s | padding efficiency | share of GEMM peak | peak GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for arm, median in medians.items():
        ratios = [
            figures["ours"]["samples_per_second"] / figures[arm]["samples_per_second"]
            for figures in rounds
            if "ours" in figures
        ]
        print(
            f"| {arm} | {median['samples_per_second']:.2f} | {statistics.median(ratios) if ratios else 0:.2f} | "
            f"{median['tokens_per_second']:.0f} | {median['padding_efficiency']:.3f} | "
            f"{flops_per_second(median) / median['gemm_peak']:.2f} | "
            f"{median['peak_memory_bytes'] / 1e9:.2f} |"
        )


def run_arm(arm: str, arguments: argparse.Namespace, *, seed: int) -> dict[str, float]:
    """Run an arm in a process of its own; return its figures."""
    data = str(arguments.data.resolve())
    if arm in BASELINES:
        numbers = map(str, (arguments.max_length, arguments.batch_size, arguments.steps, seed))
        return run_and_read("benchmarks/baselines.py", arm, MODEL, data, *numbers)
    recipe = [
        "data=local", f"data.path={data}", "model=minilm", "model.pooling=null", f"seed={seed}",
        f"data.max_length={arguments.max_length}", f"data.batch_size={arguments.batch_size}", "data.max_eval_samples=32",
        f"trainer.max_steps={arguments.steps}", *OURS[arm],
    ]  # fmt: skip
    if arm == "ours_bare_loop":
        return run_and_read("benchmarks/bare_loop.py", str(arguments.steps), *recipe)
    return train(recipe)


def train(overrides: list[str]) -> dict[str, float]:
    """Run ``train.py`` in a process of its own; return the ``train/…`` figures of its ``metrics.json``."""
    with tempfile.TemporaryDirectory() as folder:
        run("train.py", *overrides, f"hydra.run.dir={folder}")
        metrics = json.loads((Path(folder) / "metrics.json").read_text())
    names = ("seconds", "samples_per_second", "tokens_per_second", "padding_efficiency", "peak_memory_bytes")
    return {name: metrics[f"train/{name}"] for name in names}


def run_and_read(*command: str) -> dict[str, float]:
    """Run a script in a process of its own; return the JSON object in its last line."""
    figures: dict[str, float] = json.loads(run(*command).splitlines()[-1])
    return figures


def print_figures(*, samples: int, tokens: int, computed: int, seconds: float, **others: float) -> None:
    """Print the figures of a training, and others, as JSON, for ``run_and_read``."""
    from lightune.training.callbacks.throughput import peak_memory_bytes

    figures = {
        **others,
        "seconds": seconds,
        "samples_per_second": samples / seconds,
        "tokens_per_second": tokens / seconds,
        "padding_efficiency": tokens / computed,
        "peak_memory_bytes": peak_memory_bytes(),
    }
    print(json.dumps(figures))


def run(*command: str, **env: str) -> str:
    """Run a script of this project; return what it printed."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", **env}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:2])} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def gemm_peak() -> float:
    """Return the FLOP/s of this machine in matrix products right now: in bfloat16 or float32, whichever is more."""
    import torch

    on_gpu = torch.cuda.is_available()
    size, device, peak = (8192, "cuda", 0.0) if on_gpu else (2048, "cpu", 0.0)
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        times = []
        for _ in range(6):
            started = time.perf_counter()
            left @ right
            if on_gpu:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        peak = max(peak, 2 * size**3 / statistics.median(times))
    return peak


def flops_per_second(
    figures: dict[str, float], *, weights: int = WEIGHTS, layers: int = LAYERS, width: int = WIDTH
) -> float:
    """Return the FLOP/s of real tokens, with scores as if every row had the mean length."""
    mean_length = figures["tokens_per_second"] / figures["samples_per_second"]
    return figures["tokens_per_second"] * (6 * weights + 12 * layers * width * mean_length)


if __name__ == "__main__":
    main()
