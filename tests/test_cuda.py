"""Whole runs on an NVIDIA GPU."""

from pathlib import Path

import pytest
from conftest import write_reviews

from lightune.commands import cli

pytestmark = pytest.mark.cuda


@pytest.fixture
def reviews(tmp_path: Path) -> list[str]:
    data = write_reviews(tmp_path / "reviews.csv", 200)
    return ["data=local", f"data.path={data}", "data.batch_size=8", "optimizer.lr=3e-3", "trainer.accelerator=gpu"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "bf16-true"])
@pytest.mark.parametrize("tuning", ["full", "frozen", "lora"])
def test_a_run_learns_and_is_measured_alike_afterwards(
    tmp_path: Path, train_here, reviews: list[str], capsys: pytest.CaptureFixture[str], precision: str, tuning: str
):
    layers = ["tuning.num_layers=1"] if tuning == "frozen" else []
    metrics = train_here(
        *reviews, f"trainer.precision={precision}", f"tuning={tuning}", *layers, "trainer.max_epochs=2"
    )
    assert metrics["train/peak_memory_bytes"] < 2e9
    capsys.readouterr()
    cli.main(["evaluate", str(tmp_path / "run")])
    table = capsys.readouterr().out.splitlines()
    for name in ("loss", "accuracy"):
        row = next(line for line in table if name in line.split())
        assert f"{metrics[f'val/{name}']:.4f}" in row
        assert f"{metrics[f'test/{name}']:.4f}" in row


def test_a_batch_size_is_found_in_the_memory_of_the_gpu(train_here, reviews: list[str], capsys):
    with pytest.raises(FileNotFoundError, match="metrics.json"):  # nothing is trained
        train_here(*reviews, "find=batch_size")
    assert "rows fit into" in capsys.readouterr().out
