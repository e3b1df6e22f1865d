"""What a model can read at a time, checked before anything is tokenized."""

from transformers import BatchEncoding, PreTrainedTokenizerBase

from lightune.common.errors import UserError


def check_length(
    tokenizer: PreTrainedTokenizerBase, length: int, *, least: int = 3, option: str = "max_length"
) -> None:
    """Refuse a number of tokens that the model cannot read, or that leaves no room for a text.

    Raises:
        UserError: says the bounds.
    """
    if not least <= length <= tokenizer.model_max_length:
        raise UserError(
            f"data.{option}={length}: this model reads from {least} to {tokenizer.model_max_length} tokens."
        )


def check_offsets(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that does not say where in a text its tokens lie.

    Raises:
        UserError: it is not a fast one.
    """
    if not tokenizer.is_fast:
        raise UserError("This model has no fast tokenizer, which alone says where in a text a token lies.")


def check_stride(doc_stride: int, *, max_length: int, room: int, suggested: int) -> None:
    """Refuse windows that would share all that there is room for.

    Raises:
        UserError: says the bounds and a value within them.
    """
    if not 0 <= doc_stride < room:
        raise UserError(
            f"data.doc_stride={doc_stride}: with data.max_length={max_length} windows can share "
            f"0 to {room - 1} tokens.\nSet for example data.doc_stride={suggested}"
        )


def cut(tokenizer: PreTrainedTokenizerBase, texts: list[str], *, tokens: int) -> list[str]:
    """Return texts without what comes after so many tokens, the last character whole; the tokenizer is a fast one."""
    encoded = tokenizer(
        texts, add_special_tokens=False, truncation=True, max_length=tokens + 1, return_offsets_mapping=True
    )
    shorter = []
    for text, spans in zip(texts, encoded["offset_mapping"], strict=True):
        if len(spans) > tokens:  # a character may be several tokens, of which the next is one
            text = text[: min(spans[tokens - 1][1], spans[tokens][0])]
        shorter.append(text)
    return shorter


def were_cut(encoded: BatchEncoding, *, max_length: int) -> list[bool]:
    """Say which texts were longer than a tokenizer has left them: it keeps what it has cut off.

    A tokenizer that is not a fast one does not: all that fill the length count.
    """
    full = [len(ids) >= max_length for ids in encoded["input_ids"]]
    return [
        fills and (not encoded.is_fast or bool(encoded[row].overflowing)) for row, fills in enumerate(full)
    ]
