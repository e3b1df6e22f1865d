"""Where in a row's texts the tokens lie that a model reads of them."""

from typing import NamedTuple

from transformers import BatchEncoding


class Place(NamedTuple):
    """Characters of one of a row's texts."""

    text: int
    """0, or 1 for the second of a pair."""

    start: int
    end: int
    """Exclusive."""


def locate_tokens(encoded: BatchEncoding, window: int) -> list[Place | None]:
    """Return for each token of a window its place, None where it stands for no character of a text.

    Args:
        encoded: by a fast tokenizer, with ``offset_mapping``.
        window: its row.
    """
    return [
        Place(text, start, end) if text is not None and start < end else None
        for text, (start, end) in zip(
            encoded.sequence_ids(window), encoded["offset_mapping"][window], strict=True
        )
    ]
