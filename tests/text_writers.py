"""Tasks that write, over small random models of every architecture, and batches for them."""

from functools import partial
from pathlib import Path

import torch
from conftest import save_tokenizer
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from lightune.models.pretrained import PretrainedModel
from lightune.tasks import CausalLM, Seq2Seq
from lightune.tuning import freezing
from lightune.tuning.optimizer_and_schedule import schedule
from lightune.tuning.recipe import Recipe

GREEDY = {"max_new_tokens": 6, "num_beams": 1, "do_sample": False}


def task(kind: type, folder: Path, **settings) -> Seq2Seq | CausalLM:
    torch.manual_seed(0)
    return kind(
        **{
            "pretrained": PretrainedModel(pretrained_model_name_or_path=str(folder)),
            "head": {},
            "metrics": ["bleu", "chrf"] if kind is Seq2Seq else ["bleu", "distinct1"],
            "monitor": ["val/loss", "min"],
            "generation": GREEDY,
            "recipe": Recipe(
                tuning=freezing.full,
                optimizer=partial(torch.optim.SGD, lr=0.1),
                scheduler=partial(schedule, name="constant_with_warmup", warmup_ratio=0.0),
                num_training_steps=lambda trainer: 1,
            ),
            **settings,
        }
    )


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(5, 40, shape, generator=torch.Generator().manual_seed(seed))


def sources(rows: int, seed: int = 0) -> dict:
    labels = ids(rows, 5, seed=seed + 1)
    labels[0, 3:] = -100
    return {
        "input_ids": ids(rows, 6, seed=seed),
        "attention_mask": torch.ones(rows, 6, dtype=torch.long),
        "labels": labels,
        "rows": [{"source": "good", "references": ["a fine film"]} for _ in range(rows)],
    }


def dialogues(prompts: list[list[int]]) -> dict:
    batch = sources(len(prompts))
    batch["labels"] = torch.cat([torch.full((len(prompts), 3), -100), batch["input_ids"][:, 3:]], dim=1)
    batch["rows"] = [{"prompt_ids": prompt, "source": "good", "references": ["a fine film"]} for prompt in prompts]
    return batch


SMALL = {
    "vocab_size": 80,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "max_position_embeddings": 64,
}


HEADS = {
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}


TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


SEQ2SEQ = {
    "nllb": lambda: M2M100ForConditionalGeneration(M2M100Config(**SMALL, **HEADS, **TOKENS, decoder_start_token_id=3)),
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(
            vocab_size=80,
            d_model=32,
            d_kv=16,
            d_ff=64,
            num_layers=2,
            num_heads=2,
            decoder_start_token_id=0,
            eos_token_id=3,
        )
    ),
    "bart": lambda: BartForConditionalGeneration(BartConfig(**SMALL, **HEADS, **TOKENS, decoder_start_token_id=3)),
    "marian": lambda: MarianMTModel(MarianConfig(**SMALL, **HEADS, **TOKENS, decoder_start_token_id=0)),
    "mbart": lambda: MBartForConditionalGeneration(MBartConfig(**SMALL, **HEADS, **TOKENS, decoder_start_token_id=3)),
}


CAUSAL = {
    "roberta": lambda: RobertaForCausalLM(
        RobertaConfig(
            vocab_size=80,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=66,
            pad_token_id=0,
            is_decoder=True,
        )
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=80, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=3, eos_token_id=3)
    ),
    "qwen": lambda: Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=80,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            bos_token_id=3,
            eos_token_id=3,
        )
    ),
}


def saved(folder: Path, build) -> Path:
    torch.manual_seed(0)
    build().save_pretrained(folder)
    tokenizer = save_tokenizer(folder)
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(folder)
    return folder
