"""Measure fine-tuning of a causal model on summaries: a plain loop, the Trainer, TRL's SFTTrainer and this project.

python benchmarks/language_model.py DATA [--rounds 3] [--arms plain_loop ours …] [OVERRIDE …]

DATA is DialogSum's folder, or another with ``dialogue`` and ``summary`` in ``train.parquet``. The protocol is in
README.md beside this file.
"""

import argparse
import csv
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from speed import run, run_and_read, train

from lightune.common import package_index

MODEL = "embedded:SmolLM2-135M-Instruct"
PROMPT = "Summarize this dialogue.\n\n"
RANK, ALPHA, LEARNING_RATE = 16, 32, 5e-4
# arms that train on the same batches in the same order, and so begin with the same loss
ORDERED = ("plain_loop", "trainer", "trl", "trl_no_checkpointing")
BASELINES = (*ORDERED, "trl_packing")
# of the largest to the smallest first loss: bfloat16 rounds to 1 in 256
SAME_LOSS = 1.02
# with ours, which does not learn the line break after an answer: 1 token in 30, and sure
SAME_LOSS_AS_OURS = 1.05

Row = dict[str, str]


def main() -> None:
    """Run every arm in turn, round by round; print medians and ratios, and write all figures as JSON."""
    parser = argparse.ArgumentParser(description="Fine-tuning of a causal model, side by side.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=MODEL, help=f"a folder in the Hub's layout (default: {MODEL})")
    parser.add_argument("--max-length", type=int, default=512, help="of the rows, prompt and summary (default: 512)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--longest", action="store_true", help="the longest rows in place of random ones")
    parser.add_argument("--arms", nargs="+", choices=[*BASELINES, "ours"], default=[*BASELINES, "ours"])
    parser.add_argument("--out", type=Path, default=Path("language_model.json"))
    parser.add_argument("overrides", nargs="*", help="of train.py, for ours")
    arguments = parser.parse_intermixed_args()
    arguments.model = package_index.resolve(arguments.model)
    candidates = rows_that_fit(arguments)
    rounds = []
    for seed in range(arguments.rounds):
        count = arguments.steps * arguments.batch_size
        rows = choose(candidates, count=count, longest=arguments.longest, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(run_round(rows, arguments, folder=Path(folder), seed=seed))
        check_same_work(rounds[-1])
    arguments.out.write_text(json.dumps({"asked": vars(arguments), "rounds": rounds}, indent=2, default=str) + "\n")
    print("\n".join(table(rounds)))


def messages(row: Row) -> tuple[list[Row], list[Row]]:
    """Return the messages of the prompt, and the one of the answer."""
    prompt = [{"role": "user", "content": (PROMPT + row["dialogue"]).strip()}]
    return prompt, [{"role": "assistant", "content": row["summary"]}]


def encode(tokenizer: Any, row: Row) -> dict[str, list[int]]:
    """Return ``input_ids`` of prompt and answer, and ``labels`` that are -100 on the prompt."""
    prompt, answer = messages(row)
    opened = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(prompt + answer, tokenize=False)
    before, input_ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (opened, whole))
    return {"input_ids": input_ids, "labels": [-100] * len(before) + input_ids[len(before) :]}


def rows_that_fit(arguments: argparse.Namespace) -> list[Row]:
    """Return the training rows of at most ``max_length`` tokens, from the shortest to the longest."""
    import pyarrow.parquet
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    rows = pyarrow.parquet.read_table(arguments.data / "train.parquet", columns=["dialogue", "summary"]).to_pylist()
    lengths = [len(encode(tokenizer, row)["input_ids"]) for row in rows]
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    return [rows[number] for number in order if lengths[number] <= arguments.max_length]


def choose(rows: list[Row], *, count: int, longest: bool, seed: int) -> list[Row]:
    """Return so many rows in random order: a sample, or the longest."""
    if len(rows) < count:
        sys.exit(
            f"{count} rows are needed, and only {len(rows)} are short enough: fewer --steps, or more --max-length."
        )
    return random.Random(seed).sample(rows[-count:] if longest else rows, count)


def run_round(rows: list[Row], arguments: argparse.Namespace, *, folder: Path, seed: int) -> dict[str, Any]:
    """Run each arm in a process of its own on one epoch of the rows; return their figures."""
    held_out = rows[: arguments.batch_size]
    for name, split in {"train": rows, "validation": held_out, "test": held_out}.items():
        write(folder / f"{name}.jsonl", split)
    figures = {}
    for arm in arguments.arms:
        if arm == "ours":
            figures[arm] = train(recipe(arguments, data=folder, seed=seed))
            figures[arm]["first_loss"] = first_loss(arguments, rows[: arguments.batch_size], seed=seed)
        else:
            numbers = map(str, (arguments.max_length, arguments.batch_size, seed))
            script = "benchmarks/language_model_baselines.py"
            figures[arm] = run_and_read(script, arm, arguments.model, str(folder / "train.jsonl"), *numbers)
        tokens, memory = figures[arm]["tokens_per_second"], figures[arm]["peak_memory_bytes"] / 1e9
        print(f"round {seed + 1}: {arm:20} {tokens:7.1f} tokens/s {memory:6.2f} GB", flush=True)
    return figures


def recipe(arguments: argparse.Namespace, *, data: Path, seed: int) -> list[str]:
    """Return the overrides of ``train.py`` for the training that the other arms do."""
    return [
        "data=dialogsum", f"data.path={data}", "model=smollm2", f"model.pretrained_model_name_or_path={arguments.model}",
        f'data.prompt="{PROMPT}{{source}}"', f"data.max_length={arguments.max_length}",
        f"data.max_target_length={arguments.max_length}", f"data.batch_size={arguments.batch_size}", "tuning=lora", f"tuning.r={RANK}", f"tuning.alpha={ALPHA}",
        "tuning.dropout=0", "tuning.target_modules=all-linear", "scheduler=constant", f"optimizer.lr={LEARNING_RATE}",
        "trainer.max_epochs=1", "task.generation.max_new_tokens=4", "task.generation.num_beams=1",
        "report=false", f"seed={seed}", *arguments.overrides,
    ]  # fmt: skip


def first_loss(arguments: argparse.Namespace, rows: list[Row], *, seed: int) -> float:
    """Return the loss of one step of ``train.py`` on these rows alone."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("train", "validation", "test"):
            write(Path(folder) / f"{name}.jsonl", rows)
        overrides = [*recipe(arguments, data=Path(folder), seed=seed), "trainer.log_every_n_steps=1"]
        run("train.py", *overrides, f"hydra.run.dir={folder}/run")
        with Path(folder, "run/metrics.csv").open(encoding="utf-8", newline="") as file:
            return next(float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"])


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def check_same_work(figures: dict[str, Any]) -> None:
    """Stop unless all arms trained on as many tokens, and began with the same loss where the batch is the same."""
    tokens = {arm: round(of["tokens_per_second"] * of["seconds"]) for arm, of in figures.items()}
    if max(tokens.values()) - min(tokens.values()) > 1:
        sys.exit(f"The arms did not train on the same tokens: {tokens}")
    for arms, bound in ((ORDERED, SAME_LOSS), ((*ORDERED, "ours"), SAME_LOSS_AS_OURS)):
        losses = {arm: of["first_loss"] for arm, of in figures.items() if arm in arms}
        if losses and max(losses.values()) > bound * min(losses.values()):
            sys.exit(f"The arms do not begin with the same loss: {losses}")


def table(rounds: list[dict[str, Any]]) -> list[str]:
    """Tabulate medians over rounds, and the medians of each round's ratio to ours."""
    lines = [
        "| arm | tokens/s | ours is faster | peak GB | ours takes | first loss |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for arm in rounds[0]:

        def median(name: str, *, arm: str = arm) -> float:
            return statistics.median(figures[arm][name] for figures in rounds)

        def ratio(name: str, *, arm: str = arm) -> str:
            if "ours" not in rounds[0]:
                return ""
            return f"{statistics.median(figures['ours'][name] / figures[arm][name] for figures in rounds):.2f}"

        lines.append(
            f"| {arm} | {median('tokens_per_second'):.0f} | {ratio('tokens_per_second')} | "
            f"{median('peak_memory_bytes') / 1e9:.2f} | {ratio('peak_memory_bytes')} | {median('first_loss'):.3f} |"
        )
    return lines


if __name__ == "__main__":
    main()
