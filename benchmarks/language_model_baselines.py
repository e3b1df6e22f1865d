"""Run one of ``language_model.py``'s other arms in a process of its own: one epoch of LoRA in order, print the cost.

python benchmarks/language_model_baselines.py ARM MODEL ROWS MAX_LENGTH BATCH_SIZE SEED

ROWS is a file of JSON Lines with ``dialogue`` and ``summary``, none of them longer than MAX_LENGTH.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from language_model import ALPHA, LEARNING_RATE, RANK, Row, encode, messages
from peft import LoraConfig, get_peft_model
from speed import print_figures
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRL: dict[str, dict[str, Any]] = {
    "trl": {},
    "trl_no_checkpointing": {"gradient_checkpointing": False},
    "trl_packing": {"packing": True},
}


def main(arm: str, source: str, data: str, *, max_length: int, batch_size: int, seed: int) -> None:
    """Run an arm, and print its figures as JSON."""
    transformers.set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(source)
    rows: list[Row] = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
    encoded = [encode(tokenizer, row) for row in rows]
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"))
    settings: dict[str, Any] = {
        "per_device_train_batch_size": batch_size,
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        # the rows are in random order
        "train_sampling_strategy": "sequential",
        "seed": seed,
        "use_cpu": DEVICE == "cpu",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if arm == "plain_loop":
        seconds, loss = plain_loop(model, tokenizer, encoded, batch_size=batch_size)
    elif arm == "trainer":
        arguments = TrainingArguments(tempfile.mkdtemp(), bf16=True, **settings)
        collate = DataCollatorForSeq2Seq(tokenizer)
        seconds, loss = run(Trainer(model, arguments, data_collator=collate, train_dataset=Dataset.from_list(encoded)))
    else:
        from trl import SFTConfig, SFTTrainer

        config = SFTConfig(tempfile.mkdtemp(), max_length=max_length, **settings, **TRL[arm])
        pairs = [dict(zip(("prompt", "completion"), messages(row), strict=True)) for row in rows]
        trainer = SFTTrainer(model, config, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer)
        seconds, loss = run(trainer)
        # TRL's own tokens
        encoded = list(trainer.train_dataset)
    lengths = [len(row["input_ids"]) for row in encoded]
    tokens = sum(lengths)
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    padded = sum(len(batch) * max(batch) for batch in batches)
    computed = tokens if arm == "trl_packing" else padded
    print_figures(samples=len(rows), tokens=tokens, computed=computed, seconds=seconds, first_loss=loss)


def plain_loop(model: Any, tokenizer: Any, rows: list[dict[str, list[int]]], *, batch_size: int) -> tuple[float, float]:
    """Train by a textbook loop; return the seconds, and the loss of the first batch."""
    collate = DataCollatorForSeq2Seq(tokenizer)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    losses = []
    model.to(DEVICE).train()
    started = time.perf_counter()
    for start in range(0, len(rows), batch_size):
        batch = collate(rows[start : start + batch_size]).to(DEVICE)
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return time.perf_counter() - started, losses[0]


def run(trainer: Trainer) -> tuple[float, float]:
    """Train; return the seconds, and the loss of the first batch."""
    seconds = trainer.train().metrics["train_runtime"]
    return seconds, trainer.state.log_history[0]["loss"]


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    arm, source, data, *numbers = sys.argv[1:]
    max_length, batch_size, seed = map(int, numbers)
    main(arm, source, data, max_length=max_length, batch_size=batch_size, seed=seed)
