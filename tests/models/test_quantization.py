"""QLoRA: frozen linear layers in 4 bits, while the model computes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from architectures import small
from conftest import save_tokenizer
from peft.utils.integrations import dequantize_module_weight
from test_all_tasks import write_chats
from transformers import AutoModel, BertConfig, Qwen2Config

from lightune.common import packages
from lightune.common.errors import UserError
from lightune.models.quantization import quantize_frozen
from lightune.models.sharding import shard
from lightune.runs.checkpoint_io import read_checkpoint
from lightune.runs.inference import inference_trainer
from lightune.runs.load_run import model_weights, rebuild, rebuild_data
from lightune.runs.run_folder import Run
from lightune.tuning.lora import ALL_LINEAR, lora

IDS = torch.arange(5, 25).view(2, 10)


def test_without_bitsandbytes_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"tuning=qlora needs bitsandbytes.*\n.*pip install -e '\.\[qlora\]'"):
        quantize_frozen(small("qwen"), "bf16-mixed")


@pytest.fixture
def bitsandbytes():
    return pytest.importorskip("bitsandbytes")


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    states = model(input_ids=IDS, attention_mask=torch.ones_like(IDS), output_hidden_states=True).hidden_states[-1]
    states.sin().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def made(name: str) -> torch.nn.Module:
    """Make a random model without dropout; bitsandbytes packs blocks of 64 weights, and needs as many in a row."""
    sizes = {"vocab_size": 80, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 64}
    sizes |= {"intermediate_size": 128, "max_position_embeddings": 64}
    config = BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    torch.manual_seed(0)
    return AutoModel.from_config(config if name == "bert" else Qwen2Config(**sizes, num_key_value_heads=1))


@pytest.mark.parametrize("name", ["qwen", "bert"])
def test_gradients_are_those_of_the_weights_that_four_bits_hold(bitsandbytes, name: str):
    model, plain = (made(name).train() for _ in range(2))
    for each in (model, plain):
        torch.manual_seed(0)
        lora(each, dropout=0, target_modules=ALL_LINEAR, quantize="nf4")
        for key, parameter in each.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(parameter, std=0.05)
    for _ in range(2):  # as before training, and again before a test
        quantize_frozen(model, "32-true")
    kinds = {key: type(module).__name__ for key, module in model.named_modules()}
    in_layers = {key for key in kinds if key.endswith("base_layer") and "pooler" not in key}
    assert {key for key, kind in kinds.items() if kind == "Linear4bit"} == in_layers
    for key in in_layers:
        held, weight = dequantize_module_weight(model.get_submodule(key)), plain.get_submodule(key).weight
        assert 0.01 < (held - weight).norm() / weight.norm() < 0.1, key
        weight.data.copy_(held)
    model.eval()(input_ids=IDS)  # a validation changes nothing
    expected, found = gradients(plain), gradients(model.train())
    assert expected.keys() == found.keys()
    assert any(".0." in key for key in found)
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dora", [False, True])
def test_a_run_is_evaluated_in_four_bits_and_exported_on_the_original_weights(
    bitsandbytes, train_here: Callable[..., dict[str, float]], tmp_path: Path, dora: bool
):
    chats, model, run = write_chats(tmp_path / "chats.jsonl", 60), tmp_path / "model", tmp_path / "run"
    save_tokenizer(model)
    small("qwen").save_pretrained(model)
    metrics = train_here(
        "task=dialogue", "data=local", f"data.path={chats}", f"model.pretrained_model_name_or_path={model}",
        "tuning=qlora", f"tuning.use_dora={dora}", "optimizer.lr=1e-2", "trainer.precision=bf16-mixed",
        "trainer.max_epochs=1", "task.generation.max_new_tokens=5", "model.gradient_checkpointing=true",
    )  # fmt: skip
    assert metrics["parameters/total"] > sum(p.numel() for p in small("qwen").parameters())
    state = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    assert all(".lora_" in name and tensor.dtype == torch.float32 for name, tensor in state.items())
    task = rebuild(run)[1]
    (again,) = inference_trainer("bf16-mixed").test(task, rebuild_data(run), verbose=False)
    assert again == {name: metrics[name] for name in again}
    merged, before = model_weights(Run(run)), small("qwen").state_dict()
    assert merged.keys() == before.keys()
    change = (merged["model.layers.0.mlp.up_proj.weight"] - before["model.layers.0.mlp.up_proj.weight"]).float()
    assert torch.linalg.matrix_rank(change, tol=1e-5) <= 8 or dora
    assert change.any()


def test_a_model_without_linear_layers_and_shards_are_refused(bitsandbytes):
    model = small("gpt2")
    lora(model, quantize="nf4")
    with pytest.raises(UserError, match="GPT2LMHeadModel has no linear layers"):
        quantize_frozen(model, "32-true")
    model = small("qwen")
    lora(model, quantize="nf4")
    quantize_frozen(model, "32-true")
    with pytest.raises(UserError, match="trainer=fsdp cannot distribute"):
        shard(model, None)
