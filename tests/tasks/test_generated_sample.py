import pytest

from lightune.tasks.generated_sample import rows_to_generate


def shares(num_steps: int, step_rows: int, world_size: int, max_samples: int) -> list[int]:
    """The rows of each step that all devices together generate for."""
    return [
        sum(
            rows_to_generate(
                step,
                num_steps=num_steps,
                step_rows=step_rows,
                max_samples=max_samples,
                rank=rank,
                world_size=world_size,
            )
            for rank in range(world_size)
        )
        for step in range(num_steps)
    ]


@pytest.mark.parametrize(("num_steps", "step_rows", "world_size"), [(32, 32, 1), (32, 16, 2), (500, 1, 1), (9, 20, 3)])
def test_a_sample_is_exact_over_devices_and_spread_over_lengths(num_steps: int, step_rows: int, world_size: int):
    sample = shares(num_steps, step_rows, world_size, 64)
    assert sum(sample) == 64
    assert max(sample) <= step_rows * world_size
    third = num_steps // 3
    assert all(sum(part) >= 64 // 4 for part in (sample[:third], sample[third : 2 * third], sample[2 * third :]))


def test_a_small_split_is_generated_for_as_a_whole():
    assert all(rows >= 10 for rows in shares(6, 10, 1, 64))
    assert sum(shares(3, 10, 1, 2)) == 2
