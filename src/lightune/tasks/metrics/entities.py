"""Precision, recall and F1 of entities: right only with the right type, first word and last word."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from lightune.common.bio_tags import spans


class EntityScore(Metric):
    """Count entities over all texts, as the CoNLL shared tasks do (Tjong Kim Sang and De Meulder, 2003).

    The states are counts by type, which add up: the figures are exact over batches and devices, and equal
    seqeval's in its default mode. Where nothing was predicted precision is 0, where nothing was there recall is 0.
    """

    full_state_update = False
    right: Tensor
    predicted: Tensor
    true: Tensor

    def __init__(self, types: Sequence[str]) -> None:
        super().__init__()
        self.types = list(types)
        for name in ("right", "predicted", "true"):
            self.add_state(name, torch.zeros(len(self.types), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: list[list[str]], true: list[list[str]]) -> None:
        """Add texts, each a list of tags, one a word."""
        for tags, gold in zip(predicted, true, strict=True):
            if len(tags) != len(gold):
                raise ValueError(f"{len(tags)} predicted tags for {len(gold)} words")
            found, wanted = set(spans(tags)), set(spans(gold))
            self.right += self._counts(found & wanted)
            self.predicted += self._counts(found)
            self.true += self._counts(wanted)

    def compute(self) -> dict[str, Tensor]:
        """Return ``precision``, ``recall`` and ``f1`` over all entities (micro), and ``f1/TYPE`` etc. of each type."""
        figures = _figures(self.right.sum(), self.predicted.sum(), self.true.sum())
        for name, values in _figures(self.right, self.predicted, self.true).items():
            figures |= {f"{name}/{kind}": value for kind, value in zip(self.types, values, strict=True)}
        return figures

    def _counts(self, entities: set[tuple[str, int, int]]) -> Tensor:
        counts = Counter(kind for kind, _, _ in entities)
        return torch.tensor([counts[kind] for kind in self.types], device=self.right.device)


def _figures(right: Tensor, predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
    return {
        "precision": right / predicted.clamp(min=1),
        "recall": right / true.clamp(min=1),
        "f1": 2 * right / (predicted + true).clamp(min=1),
    }
