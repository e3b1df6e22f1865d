from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from finetune import tuning
from finetune.errors import UserError


def trainable(model: object) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_full_moves_every_weight(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    tuning.full(model)
    assert len(trainable(model)) == len(list(model.parameters()))


def test_frozen_keeps_embeddings_and_the_lowest_layers(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).train()
    tuning.frozen(model, num_layers=1)
    names = trainable(model)
    assert not any("embeddings" in name or "layer.0." in name for name in names)
    assert any("layer.1." in name for name in names)
    assert "classifier.weight" in names


def test_what_is_frozen_has_no_dropout(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).train()
    tuning.frozen(model, num_layers=1)
    assert not model.bert.encoder.layer[0].training
    assert model.bert.encoder.layer[1].training


def test_more_layers_than_there_are_is_refused(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    with pytest.raises(UserError, match=r"num_layers=9: this model has 2"):
        tuning.frozen(model, num_layers=9)
