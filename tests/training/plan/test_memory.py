"""``plan=memory``: what a GPU needs, from a configuration without weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import small
from conftest import ROOT, TRAIN, command
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from transformers import PreTrainedConfig, Qwen2Config

from lightune.training.plan import memory, output

pytestmark = pytest.mark.slow

SIZES = {
    "0.5B": Qwen2Config(hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864, tie_word_embeddings=True),
    "1.5B": Qwen2Config(hidden_size=1536, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2, intermediate_size=8960, tie_word_embeddings=True),
    "3B": Qwen2Config(hidden_size=2048, num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=2, intermediate_size=11008, tie_word_embeddings=True),
    "7B": Qwen2Config(hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4, intermediate_size=18944, vocab_size=152064),
}  # fmt: skip
"""The shapes of Qwen2.5 (Qwen Team, 2024)."""


def computed(config: PreTrainedConfig, folder: Path, *overrides: str) -> dict[str, dict[str, float]]:
    """Compute what fine-tuning needs of a model of which there is nothing but ``config.json``."""
    config.save_pretrained(folder)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(
            "train", ["model=qwen", "data=dialogsum_turns", "data.batch_size=8", "run_dir=unused", *overrides]
        )
    cfg.model.pretrained_model_name_or_path = str(folder)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    lora: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/tuning/lora.yaml"))
    return memory.compute(plain, lora=lora)


@pytest.mark.parametrize(
    ("size", "billions", "fits"),
    [
        ("0.5B", 0.494, {"full": 24, "lora": 24, "qlora": 24}),
        ("1.5B", 1.544, {"full": 40, "full, checkpointing": 40, "lora": 24}),
        ("3B", 3.086, {"full": 80, "lora, checkpointing": 24, "qlora": 24}),
        (
            "7B",
            7.616,
            {"full": None, "full, checkpointing": None, "lora, checkpointing": 24, "qlora, checkpointing": 24},
        ),
    ],
)
def test_the_sizes_of_qwen_fit_on_gpus_of_24_40_or_80_gb(
    size: str, billions: float, fits: dict[str, int | None], tmp_path: Path
):
    needs = computed(SIZES[size], tmp_path)
    full = needs["full"]
    parameters = full["weights"] / 4
    assert round(parameters / 1e9, 3) == billions
    assert (full["gradients"], full["optimizer"]) == pytest.approx((4 * parameters, 8 * parameters), rel=1e-4)
    assert needs["lora"]["weights"] == pytest.approx(2 * parameters, rel=0.01), "frozen weights are in bfloat16"
    smallest = {
        name: next((gb for gb, usable in output.USABLE.items() if parts["total"] <= usable), None)
        for name, parts in needs.items()
    }
    assert {name: smallest[name] for name in fits} == fits
    for parts in needs.values():
        assert parts["total"] == pytest.approx(sum(parts.values()) - parts["total"])


def test_the_command_needs_the_configuration_alone_and_says_that_it_measured_nothing(tmp_path: Path):
    small("qwen").config.save_pretrained(tmp_path / "model")
    done = command(
        TRAIN, "model=qwen", f"model.pretrained_model_name_or_path='{tmp_path / 'model'}'", "data=dialogsum_turns",
        "plan=memory", "tuning=lora", "tuning.r=64", f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "computed from the configuration, not measured" in done.stdout
    for text in ("qlora", "activations", "fits 24 GB", "fits 80 GB"):
        assert text in done.stdout
    needs = json.loads((tmp_path / "run" / "memory.json").read_text())["computed_bytes"]
    # of queries (32 to 32) and values (32 to 16) in two layers, a change of rank 64
    assert needs["lora"]["gradients"] == 4 * 2 * 64 * (32 + 32 + 32 + 16)
    assert needs["qlora"]["weights"] < needs["lora"]["weights"]


def test_sharding_divides_weights_gradients_and_optimizer_state(tmp_path: Path):
    config = small("qwen").config
    alone, shared = (computed(config, tmp_path, *options) for options in ([], ["trainer=fsdp", "trainer.devices=8"]))
    for tuning, parts in alone.items():
        for part in ("weights", "gradients", "optimizer"):
            assert shared[tuning][part] == pytest.approx(parts[part] / 8)
        assert shared[tuning]["activations"] == parts["activations"]


def test_the_optimizer_and_the_precision_count(tmp_path: Path):
    config = small("qwen").config
    plain, other = (
        computed(config, tmp_path, *options)["full"]
        for options in ([], ["optimizer._target_=torch.optim.Adafactor", "~optimizer.fused", "~optimizer.betas",
                             "~optimizer.eps", "trainer.precision=bf16-true"])
    )  # fmt: skip
    assert other["optimizer"] < plain["optimizer"] / 100
    assert other["weights"] == plain["weights"] / 2
    assert other["activations"] < plain["activations"]


@pytest.mark.parametrize("name", ["bert", "gpt2", "qwen", "t5"])
def test_activations_are_what_a_real_forward_pass_keeps(name: str):
    model = small(name).train()
    counted = memory.saved_bytes(model, (3, 16), (3, 8), autocast=torch.bfloat16)
    ids = torch.ones(3, 16, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    # one row is padded, as in nearly every batch
    inputs["attention_mask"][0, -1] = 0
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.ones(3, 8, dtype=torch.long)
    kept: dict[int, torch.Tensor] = {}
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.setdefault(x.untyped_storage().data_ptr(), x), lambda x: x
    )
    with hooks, torch.autocast("cpu", torch.bfloat16):
        model.base_model(**inputs)
    weights = {weight.untyped_storage().data_ptr() for weight in [*model.parameters(), *model.buffers()]}
    real = sum(x.untyped_storage().nbytes() for pointer, x in kept.items() if pointer not in weights)
    assert counted == pytest.approx(real, rel=0.05)
