"""Predictions, batches and precision are the same for every command."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from lightune.common.errors import UserError
from lightune.runs.inference import Predictor, encode_rows, inference_trainer, make_batch
from lightune.runs.load_run import rebuild

ROWS = [("a superb film",), ("dull",), ("the dire plot and the awful music",)]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_trainer_and_the_predictor_agree_bit_for_bit(finished_run: Path, precision: str):
    _, task, preprocessor = rebuild(finished_run)
    loader = DataLoader(encode_rows(preprocessor, ROWS), batch_size=3, collate_fn=preprocessor.collate)
    (expected,) = inference_trainer(precision).predict(task, loader)
    assert Predictor(task, preprocessor, precision=precision).predict(ROWS) == expected


def test_few_widths_round_a_batch_up_on_a_cpu(finished_run: Path):
    _, _, preprocessor = rebuild(finished_run)
    features = encode_rows(preprocessor, [("good " * 17,)])
    for few_widths, width in ((False, 19), (True, 20)):
        batch = make_batch(preprocessor, features, device=torch.device("cpu"), few_widths=few_widths)
        assert batch["input_ids"].shape == (1, width)


def test_a_row_that_the_task_cannot_read_is_refused(finished_run: Path):
    _, task, preprocessor = rebuild(finished_run)
    with pytest.raises(UserError, match="is not a text"):
        Predictor(task, preprocessor, precision="32-true").predict([(["no", "text"],)])
