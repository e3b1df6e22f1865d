"""What begins and ends a text, also for models whose tokenizers call that [CLS] and [SEP]."""

from transformers import PreTrainedTokenizerBase


def start_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that a text begins with."""
    start: int = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return start


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that a text ends with."""
    end: int = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    return end
