import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from architectures import every_architecture, small
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from lightune.common import hub
from lightune.common.errors import UserError
from lightune.models.model_parts import transformer_layers
from lightune.models.pretrained import PretrainedModel
from lightune.tuning.lora import lora


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "use_hub_or_cache", lambda: False)


def test_the_pretrained_weights_are_kept_under_a_new_head(tiny_bert: Path):
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(tiny_bert))
    model = pretrained.load_model(AutoModelForSequenceClassification, num_labels=3)
    encoder = AutoModel.from_pretrained(tiny_bert)
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, encoder.embeddings.word_embeddings.weight)
    assert model.classifier.out_features == 3


def test_a_half_precision_checkpoint_is_trained_in_float32(tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "half"
    shutil.copytree(tiny_bert, folder)
    AutoModel.from_pretrained(tiny_bert, dtype=torch.bfloat16).save_pretrained(folder)
    model = PretrainedModel(pretrained_model_name_or_path=str(folder)).load_model(AutoModel)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_architecture_alone_needs_no_weights(tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "no weights"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").unlink()
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(folder), load_weights=False)
    assert pretrained.load_model(AutoModel).config.hidden_size == 32


def test_a_head_of_another_size_is_initialized_on_the_same_body(tiny_bert: Path, tmp_path: Path):
    two = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)
    two.save_pretrained(tmp_path)
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(tmp_path))
    three = pretrained.load_model(AutoModelForSequenceClassification, num_labels=3)
    assert three.classifier.out_features == 3
    assert torch.equal(three.bert.encoder.layer[1].output.dense.weight, two.bert.encoder.layer[1].output.dense.weight)


def test_weights_that_leave_the_body_random_are_refused(tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "deeper"
    shutil.copytree(tiny_bert, folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    for auto_class in (AutoModel, AutoModelForSequenceClassification):
        with pytest.raises(UserError, match="would stay random, the first is"):
            PretrainedModel(pretrained_model_name_or_path=str(folder)).load_model(auto_class)


def test_attention_dropout_is_set_and_hidden_dropout_kept(tiny_bert: Path):
    config = PretrainedModel(pretrained_model_name_or_path=str(tiny_bert), attention_dropout=0.0).load_config()
    assert config.attention_probs_dropout_prob == 0.0
    assert config.hidden_dropout_prob == 0.1


@pytest.mark.parametrize("kind", ["bert", "distilbert", "t5", "bart", "gpt2"])
def test_without_dropout_a_model_computes_the_same_each_time_it_trains(kind: str, tmp_path: Path):
    small(kind).config.save_pretrained(tmp_path)
    ids = torch.arange(4, 20)[None]
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if kind in ("t5", "bart") else {})
    for hidden, same in ((None, False), (0.0, True)):
        pretrained = PretrainedModel(pretrained_model_name_or_path=str(tmp_path), hidden_dropout=hidden)
        model = AutoModel.from_config(pretrained.load_config()).train()
        assert torch.equal(model(**inputs)[0], model(**inputs)[0]) == same


def test_without_the_hub_the_message_names_the_model_and_the_alternatives(no_hub: None):
    with pytest.raises(UserError) as caught:
        PretrainedModel(pretrained_model_name_or_path="bert-base-uncased").load_tokenizer()
    message = str(caught.value)
    assert "bert-base-uncased" in message
    assert "model.pretrained_model_name_or_path=DIR" in message
    assert "python train.py" in message
    assert len(message.splitlines()) <= 4


def test_a_missing_folder_is_not_looked_up_on_the_hub(tmp_path: Path):
    with pytest.raises(UserError, match="there is no folder"):
        PretrainedModel(pretrained_model_name_or_path=str(tmp_path / "nothing")).load_tokenizer()


def test_the_error_of_a_folder_without_a_model_names_the_missing_file(tmp_path: Path):
    with pytest.raises(UserError, match=r"no config\.json"):
        PretrainedModel(pretrained_model_name_or_path=str(tmp_path)).load_tokenizer()


def test_an_architecture_without_the_head_is_refused_before_its_weights_are_read(tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "no weights"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no AutoModelForSeq2SeqLM for it"):
        PretrainedModel(pretrained_model_name_or_path=str(folder)).check(AutoModelForSeq2SeqLM, choose="model=t5_small")


def test_truncated_weights_are_refused(tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "truncated"
    shutil.copytree(tiny_bert, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="Cannot load"):
        PretrainedModel(pretrained_model_name_or_path=str(folder)).load_model(AutoModel)


@pytest.fixture
def with_code(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with Python code in its folder, which creates the file ``ran`` when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    folder = tmp_path / "with code"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "from transformers import BertConfig, BertModel\n"
        "class Config(BertConfig):\n    model_type = 'mine'\n"
        "class Model(BertModel):\n    config_class = Config\n"
    )
    return folder


def test_code_that_comes_with_a_model_does_not_run(with_code: Path, tmp_path: Path):
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(with_code))
    for load in (pretrained.load_config, lambda: pretrained.load_model(AutoModel)):
        with pytest.raises(UserError, match="brings Python code of its own") as refused:
            load()
        assert "model.trust_remote_code=true model.revision=COMMIT" in str(refused.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "a" * 39, "A" * 40, "a" * 41])
def test_code_is_trusted_only_with_a_commit(revision: str | None, with_code: Path, tmp_path: Path):
    with pytest.raises(UserError, match="needs a commit"):
        PretrainedModel(pretrained_model_name_or_path=str(with_code), trust_remote_code=True, revision=revision)
    assert not (tmp_path / "ran").exists()


def test_trusted_code_with_a_commit_runs(with_code: Path, tmp_path: Path):
    pretrained = PretrainedModel(
        pretrained_model_name_or_path=str(with_code), trust_remote_code=True, revision="a" * 40
    )
    pretrained.check(AutoModel, choose="")
    assert type(pretrained.load_model(AutoModel)).__name__ == "Model"
    pretrained.load_weights = False
    assert type(pretrained.load_model(AutoModel)).__name__ == "Model"
    assert (tmp_path / "ran").exists()


class Planted:
    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> object:
        return Path.touch, (self.made,)


def test_weights_of_an_older_model_are_read_from_a_bin_file(tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "older"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").unlink()
    weights = AutoModel.from_pretrained(tiny_bert).state_dict()
    torch.save(weights, folder / "pytorch_model.bin")
    model = PretrainedModel(pretrained_model_name_or_path=str(folder)).load_model(AutoModel)
    assert torch.equal(model.state_dict()["pooler.dense.weight"], weights["pooler.dense.weight"])


@pytest.mark.parametrize("whole", [False, True])
def test_a_bin_file_that_would_run_code_is_refused(whole: bool, tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "planted"
    shutil.copytree(tiny_bert, folder)
    planted = Planted(tmp_path / "made")
    if whole:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(planted))
    else:
        torch.save({"embeddings.word_embeddings.weight": planted}, folder / "pytorch_model.bin")
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(folder))
    pretrained.load_model(AutoModel)  # safetensors come first: the other file is not opened
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"pytorch_model\.bin is refused") as refused:
        pretrained.load_model(AutoModel)
    assert len(str(refused.value).splitlines()) <= 4
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"])
def test_a_pickle_under_another_name_is_refused(name: str, tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "planted"
    shutil.copytree(tiny_bert, folder)
    (folder / name).write_bytes(pickle.dumps(Planted(tmp_path / "made")))
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(folder))
    with pytest.raises(UserError, match="Cannot load"):
        pretrained.load_tokenizer()
        pretrained.load_model(AutoModel)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("auto_class", [AutoModelForSequenceClassification, AutoModelForTokenClassification])
def test_every_trained_weight_of_xlnet_gets_a_gradient(tmp_path: Path, auto_class: type):
    """DDP refuses weights without one; its tokenizer gives segments."""
    auto_class.from_config(every_architecture()["xlnet"]).save_pretrained(tmp_path)
    model = PretrainedModel(pretrained_model_name_or_path=str(tmp_path)).load_model(auto_class)
    ids = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])
    model(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=ids % 2).logits.sum().backward()
    assert not [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]


def test_a_compiled_model_computes_the_same_under_the_same_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With gradient checkpointing, which is a part of what is compiled."""
    small("qwen").save_pretrained(tmp_path)
    ids = torch.arange(5, 25).view(2, 10)
    original = torch.nn.Module.compile
    # the compiler for C++ takes half a minute
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: original(module, backend="eager"))
    losses, names, gradients = [], [], []
    for option in (False, True):
        pretrained = PretrainedModel(
            pretrained_model_name_or_path=str(tmp_path), compile=option, gradient_checkpointing=True
        )
        model = pretrained.load_model(AutoModelForCausalLM).train()
        torch.manual_seed(0)
        lora(model, dropout=0)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        losses.append(loss.item())
        names.append(list(model.state_dict()))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert all(layer._compiled_call_impl is not None for layer in transformer_layers(model))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert names[0] == names[1]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
