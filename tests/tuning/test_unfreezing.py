from collections.abc import Callable
from pathlib import Path

import pytest
from architectures import trainable
from transformers import AutoModelForSequenceClassification

from lightune.common.errors import UserError
from lightune.runs.checkpoint_io import read_checkpoint
from lightune.tuning import unfreezing


def test_layers_thaw_from_the_top(tiny_bert: Path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).train()
    schedule = unfreezing.gradual(model, share=0.6).freeze_schedule
    assert len(trainable(model)) == len(list(model.parameters())), "the optimizer is to know of all"
    schedule.begin(num_steps=100, world_size=1)

    def at(done: float) -> set[str]:
        schedule.go_to(round(done * 100))
        found = {name.split(".")[3] for name in trainable(model) if "layer." in name}
        return found | {name for name in ("embeddings", "classifier") if any(name in one for one in trainable(model))}

    assert at(0.0) == at(0.19) == {"classifier"}
    assert not model.bert.encoder.layer[1].training
    assert at(0.21) == at(0.39) == {"classifier", "1"}
    assert model.bert.encoder.layer[1].training and not model.bert.encoder.layer[0].training
    assert at(0.41) == {"classifier", "1", "0"}
    assert at(0.6) == at(1.0) == {"classifier", "1", "0", "embeddings"}
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("way", ["gradual", "linear_probe_then_full"])
def test_everything_is_trained_in_the_end_and_optimizer_states_start_with_the_first_gradient(
    train_here: Callable[..., dict[str, float]], reviews: Path, tmp_path: Path, way: str
):
    metrics = train_here(
        "data=local", f"data.path={reviews}", f"tuning={way}", "tuning.share=0.5", "data.batch_size=8",
        "trainer.max_epochs=2",
    )  # fmt: skip
    assert metrics["parameters/trainable"] == metrics["parameters/total"]
    states = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["optimizer_states"][0]["state"]
    steps = sorted({int(state["step"]) for state in states.values()})
    # 24 steps: at 0, 4, 8 and 12 of them one joins of the head, two layers and the embeddings; or at 0 and 12
    assert steps == ([12, 16, 20, 24] if way == "gradual" else [12, 24])


def test_a_run_resumed_with_more_epochs_freezes_nothing_again(start, tmp_path: Path):
    gradual = ["tuning=gradual", "tuning.share=0.5", "trainer.max_epochs=1"]
    assert start(tmp_path / "run", *gradual).returncode == 0
    longer = [*gradual, "trainer.max_epochs=4", f"resume='{tmp_path / 'run'}'"]
    assert start(tmp_path / "run", *longer).returncode == 0
    states = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["optimizer_states"][0]["state"]
    steps = {int(state["step"]) for state in states.values()}
    assert steps == {48, 46, 44, 42}, "12 steps an epoch: all had joined after 6, and none has missed one since"


@pytest.mark.parametrize("share", [0, 1.5])
def test_a_share_out_of_bounds_is_refused(tiny_bert: Path, share: float):
    with pytest.raises(UserError, match=r"tuning\.share"):
        unfreezing.gradual(AutoModelForSequenceClassification.from_pretrained(tiny_bert), share=share)
