import random

import pytest
import seqeval.metrics
import torch
from torchmetrics import MetricCollection

from lightune.tasks.held_out_metrics import HeldOut
from lightune.tasks.metrics.entities import EntityScore

TYPES = ["a", "b", "never"]


def sequences(rng: random.Random, prefixes: str) -> tuple[list[list[str]], list[list[str]]]:
    tags = ["O", "O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in TYPES[:2])]
    true = [rng.choices(tags, k=rng.randint(1, 9)) for _ in range(rng.randint(1, 6))]
    predicted = [[tag if rng.random() < 0.7 else rng.choice(tags) for tag in row] for row in true]
    return predicted, true


@pytest.mark.filterwarnings("ignore")  # seqeval's, where nothing was predicted
@pytest.mark.parametrize("prefixes", ["BI", "I", "BIES"])
def test_equals_seqeval(prefixes: str):
    rng = random.Random(prefixes)
    for _ in range(150):
        predicted, true = sequences(rng, prefixes)
        score = EntityScore(TYPES)
        score.update(predicted, true)
        found = {name: value.item() for name, value in score.compute().items()}
        report = seqeval.metrics.classification_report(true, predicted, output_dict=True, zero_division=0)
        for name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert found[name] == pytest.approx(report["micro avg"][theirs])
            for kind in TYPES:
                expected = report[kind][theirs] if kind in report else 0.0
                assert found[f"{name}/{kind}"] == pytest.approx(expected)


def test_batches_and_devices_add_up():
    rng = random.Random(1)
    whole, parts = EntityScore(TYPES), [EntityScore(TYPES), EntityScore(TYPES)]
    for index in range(10):
        rows = sequences(rng, "BI")
        whole.update(*rows)
        parts[index % 2].update(*rows)
    merged = EntityScore(TYPES)
    for name in ("right", "predicted", "true"):
        assert merged._reductions[name] is whole._reductions[name]
        setattr(merged, name, torch.stack([getattr(part, name) for part in parts]).sum(dim=0))
    merged.update([], [])  # mark it as updated
    assert whole.compute() == merged.compute()


def test_each_stage_has_figures_of_its_own_under_its_name():
    collection = MetricCollection({"entities": EntityScore(["person", "place"])})
    val, test = (HeldOut(collection, stage=stage, perplexity=False) for stage in ("val", "test"))
    for held_out, tags in ((val, ["B-person", "O"]), (test, ["B-place", "O"])):
        held_out.loss.update(torch.tensor(1.0))
        held_out.metrics.update([tags], [["B-person", "O"]])
        held_out.metrics.update([["O"]], [["O"]])
    assert set(val.scalars()) == {
        "val/loss",
        *(f"val/{name}" for name in ("precision", "recall", "f1")),
        *(f"val/{name}/{kind}" for name in ("precision", "recall", "f1") for kind in ("person", "place")),
    }
    assert val.scalars()["val/f1/person"] == 1
    assert test.scalars()["test/f1"] == 0
    val.reset()
    assert val.metrics["entities"].true.sum() == 0


def test_a_missing_word_is_a_bug_not_a_figure():
    with pytest.raises(ValueError, match="1 predicted tags for 2 words"):
        EntityScore(["a"]).update([["O"]], [["O", "O"]])
