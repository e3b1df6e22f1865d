"""The tokens that begin and end a text; some tokenizers call them [CLS] and [SEP]."""

from transformers import PreTrainedTokenizerBase


def start_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token that begins a text."""
    start: int = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return start


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token that ends a text."""
    end: int = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    return end
