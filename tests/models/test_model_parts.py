from typing import Any

import pytest
import torch
from architectures import every_architecture
from conftest import ROOT
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification

from lightune.common.errors import UserError
from lightune.models.layers import keep_layers
from lightune.models.model_parts import embedding_parameters, transformer_layers
from lightune.tuning import freezing, unfreezing

# the module of the first of two layers
LAYERS = {
    "bert": "encoder.layer.0",
    "minilm": "encoder.layer.0",
    "bert_large": "encoder.layer.0",
    "roberta": "encoder.layer.0",
    "electra": "encoder.layer.0",
    "deberta": "encoder.layer.0",
    "distilbert": "transformer.layer.0",
    "modernbert": "layers.0",
    "gpt2": "h.0",
    "distilgpt2": "h.0",
    "qwen": "layers.0",
    "smollm2": "layers.0",
    "t5_small": "encoder.block.0",
    "t5_base": "encoder.block.0",
    "bart_base": "encoder.layers.0",
    "marian_en_de": "encoder.layers.0",
    "mbart50": "encoder.layers.0",
    "camembert": "encoder.layer.0",
    "xlm_roberta": "encoder.layer.0",
    "mpnet": "encoder.layer.0",
    "mobilebert": "encoder.layer.0",
    "xlnet": "layer.0",
}


def layer_names(model: Any) -> list[str]:
    names = {module: name for name, module in model.named_modules()}
    return [names[layer] for layer in transformer_layers(model)]


def test_every_architecture_of_the_configuration_is_among_them():
    configured = {file.stem for file in (ROOT / "conf" / "model").iterdir()}
    assert configured <= {*every_architecture()}


@pytest.mark.parametrize("name", LAYERS)
def test_the_layers_are_the_outermost_stack(name: str):
    model = AutoModel.from_config(every_architecture()[name])
    first = LAYERS[name]
    assert layer_names(model) == [first, f"{first[:-1]}1"]


@pytest.mark.parametrize("name", every_architecture())
def test_frozen_freezes_the_embeddings_and_the_lowest_layer(name: str):
    model: Any = AutoModel.from_config(every_architecture()[name])
    layers = transformer_layers(model)
    freezing.frozen(model, num_layers=1)
    assert not any(parameter.requires_grad for parameter in layers[0].parameters())
    assert not any(parameter.requires_grad for parameter in model.get_input_embeddings().parameters())
    if len(layers) > 1:
        assert any(parameter.requires_grad for parameter in layers[1].parameters())
    decoder = [p for n, p in model.named_parameters() if n.startswith("decoder.") and "emb" not in n]
    assert all(parameter.requires_grad for parameter in decoder)


@pytest.mark.parametrize("name", ["t5_small", "xlm", "mobilebert", "mpnet"])
def test_gradual_unfreezing_thaws_one_layer_after_the_other(name: str):
    model = AutoModel.from_config(every_architecture()[name]).train()
    layers, embeddings = transformer_layers(model), embedding_parameters(model)
    tuning = unfreezing.gradual(model, share=0.9)
    schedule: Any = tuning.freeze_schedule
    schedule.begin(num_steps=90, world_size=1)

    def thawed(step: int) -> list[bool]:
        schedule.go_to(step)
        return [
            all(p.requires_grad for p in part) for part in (embeddings, *(list(one.parameters()) for one in layers))
        ]

    assert thawed(0) == [False, False, False]
    assert thawed(28) == [False, False, True]
    assert thawed(55) == [False, True, True]
    assert thawed(81) == [True, True, True]


def test_a_layer_of_parallel_lists_holds_a_part_of_each():
    model = AutoModel.from_config(every_architecture()["xlm"])
    layers = transformer_layers(model)
    assert len(layers) == 2
    in_layers = {parameter for layer in layers for parameter in layer.parameters()}
    in_lists = {
        parameter
        for module in model.children()
        if isinstance(module, nn.ModuleList)
        for parameter in module.parameters()
    }
    assert in_layers == in_lists


def test_a_layer_within_a_block_is_a_layer():
    model = AutoModel.from_config(every_architecture()["funnel"])
    assert len(transformer_layers(model)) == model.config.num_hidden_layers == 4


def test_a_deeper_decoder_is_not_taken_for_the_encoder():
    config = every_architecture()["bart_base"]
    config.decoder_layers = 4
    assert layer_names(AutoModel.from_config(config)) == ["encoder.layers.0", "encoder.layers.1"]


@pytest.mark.parametrize("num_layers", [1, 3])
def test_more_layers_than_there_are_is_refused(num_layers: int):
    model = AutoModelForSequenceClassification.from_config(every_architecture()["t5_small"])
    if num_layers == 3:
        with pytest.raises(UserError, match="this model has 2 transformer layers"):
            freezing.frozen(model, num_layers=num_layers)
    else:
        keep_layers(model, num_layers)
        assert len(transformer_layers(model)) == 1


def test_rows_run_through_the_layers_from_the_lowest():
    """For every architecture whose layers have a forward pass of their own."""
    for name, config in every_architecture().items():
        if name in ("xlm", "albert"):
            continue
        model = AutoModel.from_config(config).eval()
        order: list[nn.Module] = []
        for layer in transformer_layers(model):
            layer.register_forward_hook(lambda module, *_, order=order: order.append(module))
        ids = torch.tensor([[2, 9, 8, 7, 3]])
        decoder = {"decoder_input_ids": ids} if config.is_encoder_decoder else {}
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids), **decoder)
        assert order == transformer_layers(model), name
