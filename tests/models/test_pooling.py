from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from lightune.models.pooling import PooledClassifier


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_does_not_change_the_logits(tiny_bert: Path, pooling: str):
    model = PooledClassifier(AutoModel.from_pretrained(tiny_bert, num_labels=2), pooling=pooling).eval()
    short = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    padded = {
        "input_ids": torch.tensor([[2, 7, 8, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]]),
    }
    torch.testing.assert_close(model(**short).logits, model(**padded).logits)


def test_mean_pooling_averages_every_token(tiny_bert: Path):
    encoder = AutoModel.from_pretrained(tiny_bert, num_labels=2).eval()
    model = PooledClassifier(encoder, pooling="mean").eval()
    batch = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    expected = model.classifier(encoder(**batch).last_hidden_state.mean(dim=1))
    torch.testing.assert_close(model(**batch).logits, expected)


def test_every_weight_gets_a_gradient(tiny_bert: Path):
    model = PooledClassifier(AutoModel.from_pretrained(tiny_bert, num_labels=2), pooling="mean")
    ids = torch.tensor([[2, 7, 8, 3]])
    batch = {
        "input_ids": ids,
        "token_type_ids": torch.zeros_like(ids),
        "attention_mask": torch.ones_like(ids),
    }
    model(**batch).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
