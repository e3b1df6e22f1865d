"""What every task does alike."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import save_tokenizer
from lightning import Trainer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM

from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE, Labels
from lightune.models.pretrained import PretrainedModel
from lightune.tasks import (
    CausalLM,
    MaskedLM,
    QuestionAnswering,
    Seq2Seq,
    TextClassification,
    TokenClassification,
    losses,
)
from lightune.tuning import freezing
from lightune.tuning.optimizer_and_schedule import schedule
from lightune.tuning.recipe import Recipe

WRITES = {
    "metrics": [],
    "monitor": ["val/loss", "min"],
    "generation": {"max_new_tokens": 2, "num_beams": 1, "do_sample": False},
}
ANSWERS = {
    "version_2_with_negative": True,
    "n_best_size": 2,
    "max_answer_length": 4,
    "null_score_diff_threshold": 0.0,
}
TAGS = ["O", "B-person", "I-person"]
CLASSES = {kind: {"head": Labels(names=["a", "b", "c"], problem_type=kind).head} for kind in (SINGLE, MULTI)}
OPTIONS: dict[str, tuple[type, dict[str, Any]]] = {
    "one label": (TextClassification, CLASSES[SINGLE]),
    "several labels": (TextClassification, CLASSES[MULTI]),
    "a number": (TextClassification, {"head": Labels(names=["value"], problem_type=REGRESSION).head}),
    "entities": (TokenClassification, {"head": Labels(names=TAGS, problem_type=SINGLE).head}),
    "answers": (QuestionAnswering, {"head": {}, **ANSWERS}),
    "dialogue": (CausalLM, {"head": {}, **WRITES}),
    "translation": (Seq2Seq, {"head": {}, **WRITES}),
}


def task(folder: Path, kind: type, **settings: Any) -> Any:
    torch.manual_seed(0)
    recipe = Recipe(
        tuning=freezing.full,
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        scheduler=partial(schedule, name="linear", warmup_ratio=0.1),
    )
    return kind(pretrained=PretrainedModel(pretrained_model_name_or_path=str(folder)), recipe=recipe, **settings)


def batch(name: str, *, rows: int, first: int) -> dict[str, Any]:
    """Return rows with targets of uneven number; those of ``entities`` and ``answers`` have two windows each."""
    generator = torch.Generator().manual_seed(first)
    samples = rows * (2 if name in ("entities", "answers") else 1)
    ids = torch.randint(5, 40, (samples, 6), generator=generator)
    by_token = torch.where(torch.rand(samples, 6, generator=generator) < 0.5, -100, ids)
    of_row = {
        "entities": {"words": np.arange(12).reshape(2, 6), "tags": ["O"] * 12, "offsets": [(0, 1)] * 12, "text": "x"},
        "answers": {"offsets": np.array([[(i, i + 1) for i in range(6)]] * 2), "context": "abcdef", "answers": ["ab"]},
    }
    labels = {
        "one label": torch.arange(rows) % 3,
        "several labels": (torch.arange(rows * 3).view(rows, 3) % 2).float(),
        "a number": torch.arange(rows).float(),
        "entities": torch.where(by_token == -100, -100, by_token % 3),
        "answers": torch.arange(samples * 2).view(samples, 2) % 6,
    }
    texts = {"source": "good", "references": ["a fine film"], "prompt_ids": [2, 7]}
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": labels.get(name, by_token),
        "rows": [of_row.get(name, texts)] * rows,
        "row_numbers": list(range(first, first + rows)),
    }


@pytest.mark.parametrize("name", OPTIONS)
def test_the_losses_of_rows_are_the_tasks_own_and_make_up_the_tests(tiny_bert: Path, name: str):
    kind, settings = OPTIONS[name]

    class Own(kind):  # type: ignore[misc, valid-type]
        def loss(self, logits: torch.Tensor, batch: dict[str, Any]) -> Any:
            loss, targets = super().loss(logits, batch)
            return 3 * loss + 0.5, targets

    batches = DataLoader([batch(name, rows=3, first=0), batch(name, rows=2, first=3)], batch_size=None)
    measured = {}
    for each in (kind, Own):
        made = task(tiny_bert, each, **settings)
        trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        whole = trainer.test(made, batches, verbose=False)[0]["test/loss"]
        rows = made.all_rows("test")
        assert [row["row"] for row in rows] == [0, 1, 2, 3, 4]
        weighted = sum(row["loss"] * row["targets"] for row in rows) / sum(row["targets"] for row in rows)
        assert weighted == pytest.approx(whole, rel=1e-5)
        measured[each] = [row["loss"] for row in rows]
    assert measured[Own] == pytest.approx([3 * loss + 0.5 for loss in measured[kind]], rel=1e-5)


class Largest(TorchDispatchMode):
    """Keep the size of the largest tensor in float32."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.size = max(self.size, result.numel())
        return result


@pytest.mark.parametrize("kind", [MaskedLM, CausalLM, Seq2Seq])
def test_logits_over_a_vocabulary_are_never_in_float32_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type
):
    save_tokenizer(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=5000, **sizes)).save_pretrained(tmp_path)
    made = task(tmp_path, kind, head={}, **({} if kind is MaskedLM else WRITES)).to(torch.bfloat16).eval()
    given = batch("texts", rows=4, first=0)
    with torch.inference_mode():
        logits = made(given)
        if kind is CausalLM:
            logits = made.at_targets(logits, given)
        wanted = torch.nn.functional.cross_entropy(logits.float().flatten(0, -2), made.targets(given).flatten()).item()
    for piece in ("PIECE", "TOKEN_PIECE"):
        monkeypatch.setattr(losses, piece, 5000 * 3)
    made.update = lambda metrics, logits, batch: None  # generates, which is no matter of the loss
    made._texts = ["x"] * 4, [["x"]] * 4
    with torch.inference_mode(), Largest() as seen:
        made._evaluate(made.test, given)
    assert 5000 <= seen.size <= 5000 * 3  # of 24 positions
    assert made.test.scalars()["test/loss"].item() == pytest.approx(wanted, rel=1e-6)
    if kind is MaskedLM:
        given["input_ids"][:, 2] = made.tokenizer.mask_token_id
        with Largest() as seen:
            made.predict_step(given, 0)
        assert seen.size <= 5000 * 4
