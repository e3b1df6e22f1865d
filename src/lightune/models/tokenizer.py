"""A tokenizer that fits its model: the same padding token, no more tokens, and no longer input."""

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from lightune.common.errors import UserError
from lightune.models.model_parts import first_position, max_positions


def fit_to_model(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, model: PreTrainedModel | None, *, name: str
) -> int | None:
    """Give a tokenizer the padding token and the longest input of its model, in place; return the id that both pad with.

    The model takes the tokenizer's padding token, which is its end-of-text token where it has no other. An encoder-decoder,
    and a model that counts positions from its padding token (RoBERTa), need their own: the tokenizer takes that.
    ``model`` is the architecture, on any device, or None where transformers has no class for it.

    Raises:
        UserError: the tokenizer knows no words, cannot pad, or has more tokens than the model embeds.
    """
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise UserError(
            f"{name}: its tokenizer knows no words: transformers found no tokenizer files.\n"
            "Expected tokenizer.json, or vocab.txt or the like, beside config.json."
        )
    text_config: Any = config.get_text_config()
    own = getattr(text_config, "pad_token_id", None)
    counts_from_padding = model is not None and first_position(model) > 0
    # a head of an encoder-decoder reads the only end of text
    needs_own = counts_from_padding or config.is_encoder_decoder
    if needs_own and own in {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(own)
    elif tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise UserError(
            f"{name}: its tokenizer has no padding token, and no end-of-text token to use for it.\n"
            'Name one of its tokens in tokenizer_config.json, such as "pad_token": "[PAD]".'
        )
    largest = max(tokenizer.get_vocab().values())
    vocab_size = getattr(text_config, "vocab_size", None)
    if vocab_size is not None and largest >= vocab_size:
        raise UserError(
            f"{name}: its tokenizer does not fit the model: its token ids go up to {largest:,}, the model embeds "
            f"{vocab_size:,} tokens.\nPut the tokenizer that the model was trained with beside it."
        )
    # transformers takes 1e30 where a tokenizer does not say it
    positions = None if model is None else max_positions(model)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)
    return own if counts_from_padding else tokenizer.pad_token_id
