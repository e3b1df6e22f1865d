import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from finetune import hub
from finetune.errors import UserError
from finetune.pretrained import PretrainedModel


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "use_hub_or_cache", lambda: False)


def test_the_pretrained_weights_are_kept_under_a_new_head(tiny_bert: Path):
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(tiny_bert))
    model = pretrained.load_model(AutoModelForSequenceClassification, num_labels=3)
    encoder = AutoModel.from_pretrained(tiny_bert)
    assert torch.equal(
        model.bert.embeddings.word_embeddings.weight, encoder.embeddings.word_embeddings.weight
    )
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


def test_a_head_of_another_size_is_made_anew_on_the_same_body(tiny_bert: Path, tmp_path: Path):
    two = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)
    two.save_pretrained(tmp_path)
    pretrained = PretrainedModel(pretrained_model_name_or_path=str(tmp_path))
    three = pretrained.load_model(AutoModelForSequenceClassification, num_labels=3)
    assert three.classifier.out_features == 3
    assert torch.equal(
        three.bert.encoder.layer[1].output.dense.weight, two.bert.encoder.layer[1].output.dense.weight
    )


def test_weights_that_leave_the_body_random_are_refused(tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "deeper"
    shutil.copytree(tiny_bert, folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    for auto_class in (AutoModel, AutoModelForSequenceClassification):
        with pytest.raises(UserError, match="would stay random, the first is"):
            PretrainedModel(pretrained_model_name_or_path=str(folder)).load_model(auto_class)


def test_attention_dropout_is_set_and_hidden_dropout_kept(tiny_bert: Path):
    config = PretrainedModel(
        pretrained_model_name_or_path=str(tiny_bert), attention_dropout=0.0
    ).load_config()
    assert config.attention_probs_dropout_prob == 0.0
    assert config.hidden_dropout_prob == 0.1


def test_without_the_hub_the_message_names_the_model_and_the_ways_out(no_hub: None):
    with pytest.raises(UserError) as caught:
        PretrainedModel(pretrained_model_name_or_path="bert-base-uncased").load_tokenizer()
    message = str(caught.value)
    assert "bert-base-uncased" in message
    assert "model.pretrained_model_name_or_path=DIR" in message
    assert "python train.py" in message
    assert len(message.splitlines()) <= 4


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path: Path):
    with pytest.raises(UserError, match="there is no folder"):
        PretrainedModel(pretrained_model_name_or_path=str(tmp_path / "nothing")).load_tokenizer()


def test_a_folder_without_a_model_says_what_belongs_there(tmp_path: Path):
    with pytest.raises(UserError, match=r"no config\.json"):
        PretrainedModel(pretrained_model_name_or_path=str(tmp_path)).load_tokenizer()


def test_an_architecture_without_the_head_is_refused_before_its_weights_are_read(
    tiny_bert: Path, tmp_path: Path
):
    folder = tmp_path / "no weights"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no AutoModelForSeq2SeqLM for it"):
        PretrainedModel(pretrained_model_name_or_path=str(folder)).check(
            AutoModelForSeq2SeqLM, choose="model=t5_small"
        )


def test_truncated_weights_are_said_to_be_so(tiny_bert: Path, tmp_path: Path):
    folder = tmp_path / "truncated"
    shutil.copytree(tiny_bert, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="Cannot load"):
        PretrainedModel(pretrained_model_name_or_path=str(folder)).load_model(AutoModel)
