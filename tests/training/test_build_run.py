import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from lightune.runs.checkpoint_io import read_checkpoint

Train = Callable[..., dict[str, float]]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], "MiniLM's model.pooling=mean and optimizer.lr=0.0001;"),
        (["optimizer.lr=2e-5"], "MiniLM's model.pooling=mean;"),
        (["model.pooling=null"], "MiniLM's optimizer.lr=0.0001;"),
        (["optimizer.lr=2e-5", "model.pooling=null"], None),
        (["model=bert"], None),
    ],
)
def test_a_model_that_keeps_what_is_minilms_is_told(
    train_here: Train, reviews: Path, caplog: pytest.LogCaptureFixture, overrides: list[str], told: str | None
):
    with caplog.at_level("INFO"):
        train_here("data=local", f"data.path={reviews}", "trainer.max_steps=1", *overrides)
    assert (told in caplog.text) if told else ("MiniLM" not in caplog.text)


def test_an_encoder_decoder_that_keeps_what_is_a_decoders_is_told(
    train_here: Train, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(vocab_size=80, decoder_start_token_id=0, **sizes)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    (tmp_path / "pairs.jsonl").write_text('{"en": "good", "de": "bad"}\n' * 20, encoding="utf-8")
    overrides = ["task=translation", "data=local", f"data.path={tmp_path}/pairs.jsonl", "data.max_target_length=8"]
    overrides += [f"model.pretrained_model_name_or_path={tmp_path}", "trainer.max_steps=1"]
    told = f"{tmp_path} keeps a decoder's optimizer.lr=0.0002 and generation.num_beams=1;"
    with caplog.at_level("INFO"):
        train_here(*overrides)
        assert told in caplog.text
        caplog.clear()
        train_here(*overrides, "model=t5_small")
        assert told not in caplog.text


@pytest.mark.parametrize(("least", "steps", "validations"), [(30, 30, 2), (3, 6, 2), (31, 36, 2)])
def test_small_data_is_seen_until_there_are_enough_steps(
    train_here: Train, reviews: Path, tmp_path: Path, least: int, steps: int, validations: int
):
    few = ["data=local", f"data.path={reviews}", "data.max_train_samples=24", "data.batch_size=8", "report=false"]
    train_here(*few, "trainer.max_epochs=2", f"trainer.min_steps={least}")
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert checkpoint["global_step"] == steps
    assert checkpoint["lr_schedulers"][0]["_last_lr"] == [0.0, 0.0], "the schedule spans them"
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        assert sum(bool(row["val/loss"]) for row in csv.DictReader(file)) == validations
