from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from lightune.models.heads import POOLINGS, MeanPooling
from lightune.models.model_with_head import ModelWithHead


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_does_not_change_the_logits(tiny_bert: Path, pooling: str):
    model = ModelWithHead(AutoModel.from_pretrained(tiny_bert, num_labels=2), POOLINGS[pooling]).eval()
    short = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    padded = {
        "input_ids": torch.tensor([[2, 7, 8, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]]),
    }
    torch.testing.assert_close(model(**short).logits, model(**padded).logits)


def test_mean_pooling_averages_every_token(tiny_bert: Path):
    encoder = AutoModel.from_pretrained(tiny_bert, num_labels=2).eval()
    model = ModelWithHead(encoder, MeanPooling).eval()
    batch = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    pooled = encoder(**batch).last_hidden_state.mean(dim=1)
    expected = torch.nn.functional.linear(pooled, model.classifier.weight, model.classifier.bias)
    torch.testing.assert_close(model(**batch).logits, expected)


def test_every_weight_gets_a_gradient(tiny_bert: Path):
    model = ModelWithHead(AutoModel.from_pretrained(tiny_bert, num_labels=2), MeanPooling)
    ids = torch.tensor([[2, 7, 8, 3]])
    batch = {
        "input_ids": ids,
        "token_type_ids": torch.zeros_like(ids),
        "attention_mask": torch.ones_like(ids),
    }
    model(**batch).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
