"""Run one of ``speed.py``'s other arms in a process of its own: fine-tune for some steps, print the cost.

python benchmarks/baselines.py ARM MODEL DATA MAX_LENGTH BATCH_SIZE STEPS SEED [WARM_UP]

The Trainer's first WARM_UP steps, by default none, are left out of the figures.
"""

import random
import sys
import tempfile
import time
from typing import Any

import torch
import transformers
from datasets import load_dataset
from speed import print_figures
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from lightune.common import package_index

GROUPED = {"train_sampling_strategy": "group_by_length"}
TRAINER = {
    "trainer": {},
    "trainer_grouped": GROUPED,
    "trainer_grouped_bf16": {**GROUPED, "bf16": True},
    "trainer_grouped_bf16_no_attention_dropout": {**GROUPED, "bf16": True},
}
LEARNING_RATE, WARMUP = 1e-4, 0.1


class Counter:
    """A collate function that counts rows and tokens."""

    def __init__(self, tokenizer: Any, **padding: Any) -> None:
        self.collate = DataCollatorWithPadding(tokenizer, **padding)
        self.tokens = self.computed = self.rows = 0

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        batch = self.collate(features)
        self.tokens += int(batch["attention_mask"].sum())
        self.computed += batch["attention_mask"].numel()
        self.rows += len(batch["attention_mask"])
        return batch


class WarmUp(TrainerCallback):
    """Starts the clock and the counts again after some steps."""

    def __init__(self, counter: Counter, *, steps: int) -> None:
        self.counter, self.steps = counter, steps
        self.started = 0.0

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        if state.global_step == self.steps:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.counter.tokens = self.counter.computed = self.counter.rows = 0
            self.started = time.perf_counter()


def main(
    arm: str, name: str, data: str, *, max_length: int, batch_size: int, steps: int, seed: int, warm_up: int = 0
) -> None:
    """Run an arm, and print its figures as JSON."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    transformers.set_seed(seed)
    source = package_index.resolve(name)
    tokenizer = AutoTokenizer.from_pretrained(source)
    rows = load_dataset(data, split="train").map(
        lambda batch: tokenizer(batch["text"], truncation=True, max_length=max_length),
        batched=True,
        remove_columns=["text"],
    )
    config = AutoConfig.from_pretrained(source, num_labels=2)
    if arm.endswith("no_attention_dropout"):
        config.attention_probs_dropout_prob = 0.0
    attention = "eager" if arm == "padded_loop" else "sdpa"
    model = AutoModelForSequenceClassification.from_pretrained(
        source, config=config, dtype=torch.float32, attn_implementation=attention
    )
    if arm == "padded_loop":
        counter = Counter(tokenizer, padding="max_length", max_length=max_length)
        seconds = plain_loop(model, rows, counter, batch_size=batch_size, steps=steps, seed=seed)
    else:
        counter = Counter(tokenizer)
        arguments = TrainingArguments(
            tempfile.mkdtemp(),
            per_device_train_batch_size=batch_size,
            max_steps=steps,
            learning_rate=LEARNING_RATE,
            warmup_steps=round(WARMUP * steps),
            weight_decay=0.01,
            seed=seed,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **TRAINER[arm],
        )
        clock = WarmUp(counter, steps=warm_up)
        trainer = Trainer(model, arguments, data_collator=counter, train_dataset=rows, callbacks=[clock])
        seconds = trainer.train().metrics["train_runtime"]
        if warm_up:
            seconds, steps = time.perf_counter() - clock.started, steps - warm_up
    # the Trainer collates a batch or two that it does not train on
    trained = batch_size * steps / counter.rows
    print_figures(
        samples=batch_size * steps,
        tokens=round(counter.tokens * trained),
        computed=round(counter.computed * trained),
        seconds=seconds,
    )


def plain_loop(model: Any, rows: Any, collate: Counter, *, batch_size: int, steps: int, seed: int) -> float:
    """Train by a textbook loop; return the seconds."""
    order = random.Random(seed).sample(range(len(rows)), batch_size * steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
    model.train()
    started = time.perf_counter()
    for step in range(steps):
        batch = collate([rows[i] for i in order[step * batch_size : (step + 1) * batch_size]])
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return time.perf_counter() - started


if __name__ == "__main__":
    arm, name, data, *numbers = sys.argv[1:]
    max_length, batch_size, steps, seed, *warm_up = map(int, numbers)
    main(arm, name, data, max_length=max_length, batch_size=batch_size, steps=steps, seed=seed, warm_up=sum(warm_up))
