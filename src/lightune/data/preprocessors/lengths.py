"""How many tokens a model reads, checked before anything is tokenized, and texts cut to a number of tokens."""

from transformers import BatchEncoding, PreTrainedTokenizerBase
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from lightune.common.errors import UserError


def check_length(
    tokenizer: PreTrainedTokenizerBase, length: int, *, least: int = 3, option: str = "max_length"
) -> None:
    """Let a tokenizer cut texts at their end, and windows from their beginning, whichever side is its own.

    Raises:
        UserError: the model cannot read so many tokens, or they leave no room for a text.
    """
    tokenizer.truncation_side = "right"
    most = tokenizer.model_max_length
    if not least <= length <= most:
        # transformers takes 1e30 where nothing limits it
        limits = f"from {least} to {most}" if most < VERY_LARGE_INTEGER else f"{least} or more"
        raise UserError(f"data.{option}={length}: this model reads {limits} tokens.")


def check_offsets(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise a UserError if the tokenizer does not say where its tokens lie in a text."""
    if not tokenizer.is_fast:
        raise UserError("This model has no fast tokenizer: only a fast one says where its tokens lie.")


def truncate_texts(tokenizer: PreTrainedTokenizerBase, texts: list[str], *, tokens: int) -> list[str]:
    """Return texts cut after so many tokens of a fast tokenizer, between characters."""
    # a text of fewer bytes has fewer tokens
    long = [text for text in texts if len(text.encode()) > tokens]
    if not long:
        return texts
    options = {"add_special_tokens": False, "truncation": True, "max_length": tokens + 1}
    spans_of = tokenizer(long, **options, return_offsets_mapping=True)["offset_mapping"]
    # a character may be several tokens, and the first token that is cut off one of them
    cut = {
        text: text[: min(spans[tokens - 1][1], spans[tokens][0])]
        for text, spans in zip(long, spans_of, strict=True)
        if len(spans) > tokens
    }
    return [cut.get(text, text) for text in texts]


def find_truncated(encoded: BatchEncoding, *, max_length: int) -> list[bool]:
    """Say which texts a tokenizer has truncated: a fast one keeps what it cut off.

    For any other tokenizer, all texts that fill ``max_length`` count.
    """
    return [
        len(ids) >= max_length and (not encoded.is_fast or bool(encoded[row].overflowing))
        for row, ids in enumerate(encoded["input_ids"])
    ]
