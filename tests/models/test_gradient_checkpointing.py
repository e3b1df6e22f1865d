"""Gradient checkpointing: the same gradients, from layers that are computed twice."""

from pathlib import Path

import pytest
import torch
from architectures import every_architecture, small
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from lightune.common.errors import UserError
from lightune.models.model_parts import transformer_layers
from lightune.models.pretrained import PretrainedModel
from lightune.tuning.lora import lora


def gradients(folder: Path, auto_class: type, *, adapters: bool, option: object) -> tuple[dict[str, Tensor], int]:
    """Return the gradients of a step with dropout, and how often the lowest layer was computed."""
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(folder), gradient_checkpointing=option)
    torch.manual_seed(0)
    model = pretrained.load_model(auto_class).train()
    if adapters:
        lora(model, dropout=0.1)
    calls = []
    inside = next(module for module in transformer_layers(model)[0].modules() if not [*module.children()])
    inside.register_forward_hook(lambda *_: calls.append(1))
    torch.manual_seed(1)
    ids = torch.arange(5, 25).view(2, 10)
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}, len(calls)


@pytest.mark.parametrize("option", [True, "offload"])
@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize(
    ("name", "auto_class"), [("qwen", AutoModelForCausalLM), ("bert", AutoModelForSequenceClassification)]
)
def test_gradients_are_the_same(tmp_path: Path, name: str, auto_class: type, adapters: bool, option: object):
    """Also with frozen embeddings, under adapters: no input of a layer below needs a gradient."""
    small(name).save_pretrained(tmp_path)
    plain, once = gradients(tmp_path, auto_class, adapters=adapters, option=False)
    again, twice = gradients(tmp_path, auto_class, adapters=adapters, option=option)
    assert (once, twice) == (1, 2)
    assert plain.keys() == again.keys()
    assert any(gradient.any() for key, gradient in plain.items() if ".0." in key)
    for key in plain:
        torch.testing.assert_close(again[key], plain[key], rtol=1e-5, atol=1e-6)


def test_an_architecture_that_cannot_is_refused(tmp_path: Path):
    config = every_architecture()["funnel"]
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(tmp_path), gradient_checkpointing=True)
    with pytest.raises(UserError, match=r"model\.gradient_checkpointing: .* Funnel"):
        pretrained.load_model(AutoModelForSequenceClassification)
