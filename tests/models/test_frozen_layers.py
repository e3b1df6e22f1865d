from pathlib import Path

import pytest
import torch
from architectures import CONFIGS, SIZES, every_architecture
from transformers import (
    AlbertConfig,
    AutoConfig,
    AutoModelForSequenceClassification,
)

from lightune.data.batches.frozen_states import STATES_KEY, restore_padding
from lightune.models import padding_free
from lightune.models.frozen_layers import FrozenLayers
from lightune.models.heads import MeanPooling
from lightune.models.model_with_head import ModelWithHead
from lightune.tuning import freezing


def model_of(config: AutoConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config)


def batch() -> dict[str, torch.Tensor]:
    mask = torch.ones(3, 12, dtype=torch.long)
    mask[1, 7:] = 0
    return {"input_ids": torch.randint(3, 50, (3, 12)) * mask, "attention_mask": mask}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_states_replace_the_frozen_layers(name: str, num_layers: int):
    model = model_of(CONFIGS[name]).eval()
    freezing.frozen(model, num_layers=num_layers)
    trunk = FrozenLayers.of(model)
    inputs = batch()
    with torch.no_grad():
        whole = model(**inputs).logits
        states = trunk.states(model, inputs)
        computed = []
        for module in trunk.layers[0].modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(lambda module, *_: computed.append(module))
        with trunk.skipped(model):
            replaced = model(**inputs, **{STATES_KEY: restore_padding(states, inputs["attention_mask"].bool())}).logits
        assert not computed, "a frozen layer was computed"
        assert trunk.can_be_skipped(model, inputs)
    torch.testing.assert_close(replaced, whole)


@pytest.mark.parametrize("name", ["bert", "electra", "distilbert", "roberta"])
def test_states_replace_the_frozen_layers_of_packed_batches(name: str, kernel: list[int]):
    model = model_of(CONFIGS[name]).eval()
    for dropout in padding_free.DROPOUT_NAMES["attention"]:
        if hasattr(model.config, dropout):
            setattr(model.config, dropout, 0.0)
    freezing.frozen(model, num_layers=2)
    trunk = FrozenLayers.of(model)
    inputs = batch()
    mask = inputs["attention_mask"].bool()
    with torch.no_grad():
        padded, wanted = trunk.states(model, inputs), model(**inputs).logits
        padding_free.remove_padding(model)
        packed = trunk.states(model, inputs)
        assert kernel, "the batch was packed"
        assert trunk.can_be_skipped(model, inputs)
        with trunk.skipped(model):
            found = model(**inputs, **{STATES_KEY: restore_padding(packed, mask)}).logits
    torch.testing.assert_close(packed, padded)
    torch.testing.assert_close(found, wanted)


def test_without_states_the_complete_model_runs():
    model = model_of(CONFIGS["bert"]).eval()
    freezing.frozen(model, num_layers=2)
    trunk = FrozenLayers.of(model)
    inputs = batch()
    whole = model(**inputs).logits
    with trunk.skipped(model):
        torch.testing.assert_close(model(**inputs).logits, whole, rtol=0, atol=0)
    assert not any("forward" in vars(module) for module in model.modules()), "nothing is left behind"


@pytest.mark.parametrize("embedding_size", [16, 32])
def test_shared_layers_cannot_be_skipped(embedding_size: int):
    """ALBERT runs one layer many times."""
    sizes = SIZES | {"num_hidden_layers": 3, "max_position_embeddings": 40, "embedding_size": embedding_size}
    model = model_of(AlbertConfig(**sizes)).eval()
    freezing.frozen(model, num_layers=1)
    with torch.no_grad():
        assert not FrozenLayers.of(model).can_be_skipped(model, batch())


def test_gradients_stop_at_the_states():
    model = model_of(CONFIGS["bert"])
    freezing.frozen(model, num_layers=2)
    trunk = FrozenLayers.of(model)
    inputs = batch()
    with torch.no_grad():
        states = trunk.states(model, inputs)
    with trunk.skipped(model):
        model(
            **inputs, **{STATES_KEY: restore_padding(states, inputs["attention_mask"].bool())}
        ).logits.sum().backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert any("layer.2" in name for name in moved)
    assert not any("layer.1" in name or "embeddings" in name for name in moved)


def test_a_fully_trainable_model_has_no_frozen_layers(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    assert FrozenLayers.of(model) is None
    freezing.frozen(model, num_layers=0)
    assert FrozenLayers.of(model) is None, "embeddings alone are not worth a file"


def test_frozen_layers_in_training_mode_do_not_count():
    model = model_of(CONFIGS["bert"])
    freezing.frozen(model, num_layers=2)
    model.train()
    assert FrozenLayers.of(model) is None, "their output would differ from epoch to epoch"


def test_a_pooled_classifier_has_the_frozen_layers_of_its_encoder():
    model = ModelWithHead(model_of(CONFIGS["bert"]).bert, MeanPooling)
    freezing.frozen(model, num_layers=2)
    assert len(FrozenLayers.of(model).layers) == 2


def test_the_digest_depends_on_the_weights():
    def digest(shift: float) -> str:
        model = model_of(CONFIGS["bert"])
        with torch.no_grad():
            model.bert.encoder.layer[1].output.dense.weight[0, 0] += shift
        freezing.frozen(model, num_layers=2)
        return FrozenLayers.of(model).digest()

    assert digest(0) == digest(0)
    assert digest(0) != digest(1e-3)


def can_be_skipped(model: torch.nn.Module) -> bool:
    inputs = batch()
    # the heads of T5 and BART read the only end of text
    inputs["input_ids"][:, 6] = 3
    inputs["input_ids"][:, 7:].clamp_(min=5).mul_(inputs["attention_mask"][:, 7:])
    trunk = FrozenLayers.of(model)
    with torch.no_grad():
        return trunk is not None and trunk.can_be_skipped(model, inputs)


@pytest.mark.parametrize("name", ["mpnet", "deberta", "roberta", "electra"])
def test_layers_that_are_fed_by_a_moving_weight_cannot_be_skipped(name: str):
    """MPNet's layers share relative positions outside of them, as DeBERTa's do; a pattern may leave them out."""
    model = model_of(every_architecture()[name]).eval()
    freezing.frozen(model, num_layers=1)
    assert can_be_skipped(model)
    shared = {"mpnet": "relative_attention_bias", "deberta": "rel_embeddings"}.get(name, "position_embeddings")
    moving = [parameter for parameter_name, parameter in model.named_parameters() if shared in parameter_name]
    assert moving
    for parameter in moving:
        parameter.requires_grad_(True)
    assert not can_be_skipped(model)


def test_a_pattern_that_leaves_out_what_feeds_the_layers():
    model = model_of(every_architecture()["deberta"]).eval()
    freezing.frozen(model, num_layers=0, pattern=r"\.embeddings\.|layer\.0\.")
    assert FrozenLayers.of(model) is not None
    assert not can_be_skipped(model)
    model = model_of(every_architecture()["gpt2"]).eval()
    freezing.frozen(model, num_layers=0, pattern=r"wte|h\.0\.")
    assert not can_be_skipped(model), "its positions move"


@pytest.mark.parametrize("num_layers", [1, 2, "all"])
@pytest.mark.parametrize("name", ["xlnet", "funnel", "xlm", "t5_small", "bart_base", "albert"])
def test_an_architecture_without_a_plain_stack_runs_its_layers_in_every_epoch(name: str, num_layers: int | str):
    model = model_of(every_architecture()[name]).eval()
    if name == "albert" and num_layers == 2:
        num_layers = 1
    freezing.frozen(model, num_layers=num_layers)
    assert not can_be_skipped(model)


@pytest.mark.parametrize("name", sorted(every_architecture().keys() - {"marian_en_de"}))
def test_what_is_skipped_gives_the_same_outputs_after_a_step(name: str):
    """Whatever moves while the lowest layer is frozen, its states stay true."""
    model = model_of(every_architecture()[name]).eval()
    freezing.frozen(model, num_layers=1)
    if not can_be_skipped(model):
        return
    trunk, inputs = FrozenLayers.of(model), batch()
    mask = inputs["attention_mask"].bool()
    with torch.no_grad():
        states = restore_padding(trunk.states(model, inputs), mask)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
        with trunk.skipped(model):
            replaced = model(**inputs, **{STATES_KEY: states}).logits
        torch.testing.assert_close(replaced, model(**inputs).logits)


def test_the_digest_depends_on_all_that_feeds_the_layers_and_on_nothing_above_them():
    def digest(moved: str | None = None, **settings: object) -> str:
        config = every_architecture()["mpnet"]
        config.update(settings)
        model = model_of(config)
        for name, parameter in model.named_parameters():
            if moved is not None and moved in name:
                parameter.data += 1
        freezing.frozen(model, num_layers=1)
        return FrozenLayers.of(model).digest()

    same = digest()
    for name in ("encoder.relative_attention_bias", "position_embeddings", "word_embeddings", "layer.0.output"):
        assert digest(name) != same, name
    for name in ("layer.1.output", "classifier"):
        assert digest(name) == same, name
    assert digest(layer_norm_eps=0.1) != same
    assert digest(num_attention_heads=4) != same
    assert digest(id2label={0: "a", 1: "b"}) == same
