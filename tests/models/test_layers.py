"""A model with fewer layers, or with new ones at the top, is an ordinary model of its architecture."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from architectures import small
from conftest import command, save_tokenizer
from transformers import AutoModel, AutoModelForCausalLM, EncoderDecoderModel

from lightune.common.errors import UserError
from lightune.models import layers
from lightune.models.model_parts import transformer_layers
from lightune.models.pretrained import PretrainedModel
from lightune.runs.run_folder import Run


def test_kept_layers_are_evenly_spaced_from_the_first_to_the_last():
    assert layers.evenly_spaced(6, total=12) == [0, 2, 4, 7, 9, 11]  # DistilBERT's
    assert layers.evenly_spaced(3, total=6) == [0, 2, 5]
    assert layers.evenly_spaced(1, total=6) == [0]
    assert layers.evenly_spaced(4, total=4) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "name",
    [
        "bert",
        "roberta",
        "distilbert",
        "deberta",
        "albert",
        "electra",
        "modernbert",
        "gpt2",
        "qwen",
        "t5",
        "bart",
    ],
)
def test_the_smaller_model_is_saved_and_loaded_as_an_ordinary_model(tmp_path: Path, name: str):
    save_tokenizer(tmp_path)
    small(name, layers=4).save_pretrained(tmp_path)
    whole = AutoModel.from_pretrained(tmp_path).eval()
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(tmp_path), num_hidden_layers=3)
    model = pretrained.load_model(AutoModel).eval()
    model.save_pretrained(tmp_path / "small")
    again = AutoModel.from_pretrained(tmp_path / "small").eval()
    inputs = {"input_ids": torch.arange(5, 25).view(2, 10)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = inputs["input_ids"][:, :4]
    with torch.no_grad():
        outputs = [one(**inputs).last_hidden_state for one in (model, again, whole)]
    torch.testing.assert_close(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])
    assert again.config.num_hidden_layers == 3


def test_the_smaller_model_generates():
    model = small("gpt2", layers=4).eval()
    layers.keep_layers(model, 2)
    prompt = torch.arange(5, 15).view(1, 10)
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    cached, plain = (model.generate(prompt, use_cache=use_cache, **settings) for use_cache in (True, False))
    assert torch.equal(cached, plain)


def test_encoder_and_decoder_of_an_encoder_decoder_are_reduced(tmp_path: Path):
    encoder, config = small("bert", layers=4), small("bert", layers=4).config
    config.is_decoder = config.add_cross_attention = True
    model = EncoderDecoderModel(encoder=encoder, decoder=AutoModelForCausalLM.from_config(config))
    layers.keep_layers(model, 2)
    model.save_pretrained(tmp_path)
    again = EncoderDecoderModel.from_pretrained(tmp_path)
    assert [part.config.num_hidden_layers for part in (again.encoder, again.decoder)] == [2, 2]
    assert again.num_parameters() == model.num_parameters()


def test_more_layers_than_the_model_has_are_refused():
    with pytest.raises(UserError, match="this model has 2 layers"):
        layers.keep_layers(small("bert"), 3)


def test_a_run_starts_from_another_run_with_fewer_layers(
    train_here: Callable[..., dict[str, float]], finished_run: Path, reviews: Path, tmp_path: Path
):
    whole = train_here("data=local", f"data.path={reviews}", "trainer.max_steps=1")
    metrics = train_here(
        "data=local", f"data.path={reviews}", f"model.from_run={finished_run}", "model.num_hidden_layers=1",
        "optimizer.lr=0", "trainer.max_steps=1",
    )  # fmt: skip
    assert metrics["parameters/total"] < whole["parameters/total"]
    weights, before = (Run(folder).best_checkpoint()["state_dict"] for folder in (tmp_path / "run", finished_run))
    assert not any(".layer.1." in name for name in weights)
    lowest = {name: tensor for name, tensor in weights.items() if ".layer.0." in name}
    assert lowest
    for name, tensor in lowest.items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("name", ["bert", "distilbert", "deberta", "modernbert", "gpt2", "t5"])
def test_the_top_layer_alone_starts_from_new_weights(tmp_path: Path, name: str):
    save_tokenizer(tmp_path)
    saved = small(name, layers=3)
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.add_(1)  # norms too are unlike new ones
    saved.save_pretrained(tmp_path)
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(tmp_path), reinit_layers=1)
    model, trained = pretrained.load_model(AutoModel), AutoModel.from_pretrained(tmp_path)
    top = set(transformer_layers(model)[-1].parameters())
    assert top
    for (name, parameter), before in zip(model.named_parameters(), trained.parameters(), strict=True):
        if parameter in top:
            assert parameter.mean().abs() < 0.1 or (parameter == 1).all(), name
        else:
            assert torch.equal(parameter, before), name


def test_more_new_layers_than_the_model_has_are_refused(tiny_bert: Path):
    with pytest.raises(UserError, match=r"model\.reinit_layers=3: this model has 2 layers"):
        PretrainedModel(pretrained_model_name_or_path=str(tiny_bert), reinit_layers=3).load_model(AutoModel)


@pytest.mark.parametrize(
    "tuning", ["tuning=frozen tuning.num_layers=all", "tuning=frozen tuning.num_layers=2", "tuning=lora"]
)
def test_new_layers_are_trained_and_saved_where_others_are_frozen(
    train_here: Callable[..., dict[str, float]], tmp_path: Path, reviews: Path, tuning: str
):
    metrics = train_here(
        "data=local", f"data.path={reviews}", *tuning.split(), "model.reinit_layers=1", "trainer.max_steps=3"
    )
    layer, head, adapters = 8_544, 66, 1_024
    assert metrics["parameters/trainable"] == layer + head + adapters * (tuning == "tuning=lora")
    result = command("-m", "lightune.commands", "evaluate", str(tmp_path / "run"))
    assert result.returncode == 0, result.stderr
    assert f"{metrics['test/loss']:.4f}" in result.stdout
