import numpy as np
import pytest

from lightune.data.batches.padding import pad, padded_width, round_up
from lightune.data.batches.sampler import LengthGroupedBatches

RNG = np.random.default_rng(0)
LONG = RNG.integers(60, 900, size=8000).clip(max=512)
SHORT = RNG.lognormal(np.log(22), 0.45, size=8000).round().astype(int).clip(4, 64)  # words of a sentence


def widest(lengths: np.ndarray, **settings: object) -> list[tuple[int, list[int]]]:
    batches = LengthGroupedBatches(lengths=lengths, batch_size=16, max_tokens=None, seed=0)
    return [
        (padded_width(int(lengths[batch].max()), max_width=int(lengths.max()), **settings), batch) for batch in batches
    ]


def efficiency(lengths: np.ndarray, **settings: object) -> float:
    computed = sum(columns * len(batch) for columns, batch in widest(lengths, **settings))
    return float(lengths.sum() / computed)


def test_an_epoch_has_few_widths():
    assert len({columns for columns, _ in widest(LONG, few_widths=False)}) > 150
    assert len({columns for columns, _ in widest(LONG, few_widths=True)}) < 30
    assert len(set(round_up(np.arange(1, 8193)).tolist())) <= 8 * 11 + 1  # whatever the texts


@pytest.mark.parametrize("lengths", [LONG, SHORT], ids=["long", "short"])
def test_few_widths_pad_little(lengths: np.ndarray):
    assert efficiency(lengths, few_widths=False) - efficiency(lengths, few_widths=True) < 0.025


def test_every_row_fits_and_no_more_than_an_eighth_is_added():
    lengths = np.arange(1, 10_000)
    widths = round_up(lengths)
    assert (widths >= lengths).all()
    assert (widths < lengths * 9 / 8).all()


def test_no_batch_is_wider_than_the_model_reads():
    assert [padded_width(n, max_width=509, few_widths=True) for n in (5, 500, 509)] == [5, 509, 509]
    assert padded_width(500, max_width=509, few_widths=False) == 500


def test_rows_are_padded_on_the_right():
    rows = [[7] * 33, [8]]
    exact, few = (pad(rows, value=-100, max_width=64, few_widths=few) for few in (False, True))
    assert exact.shape == (2, 33)
    assert few.shape == (2, 36)
    assert few[0].tolist() == [7] * 33 + [-100] * 3
    assert few[1].tolist() == [8] + [-100] * 35
