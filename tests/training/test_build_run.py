from collections.abc import Callable
from pathlib import Path

import pytest

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
