"""Tokens become the words that a person reads."""

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from lightune.data.preprocessors.windows import Place, locate_tokens
from lightune.data.preprocessors.words import split_words
from lightune.runs.explain.words import merge_words


def of(text: str, *tokens: tuple[int, int]) -> tuple[list[str], list[int]]:
    words, owners = merge_words([text], [split_words(text).offsets], [None, *(Place(0, *token) for token in tokens)])
    return [text[word.start : word.end] for word in words], owners


def test_tokens_within_a_word_are_one_word():
    assert of("unbelievable film", (0, 2), (2, 12), (13, 17)) == (["unbelievable", "film"], [-1, 0, 0, 1])


def test_words_within_a_token_are_one_word():
    assert of("wow...!", (0, 3), (3, 6), (6, 7)) == (["wow", "...", "!"], [-1, 0, 1, 2])


def test_a_token_may_begin_with_a_space_and_a_space_is_no_word():
    assert of("a \n film", (0, 1), (1, 3), (3, 8)) == (["a", "film"], [-1, 0, -1, 1])


def test_text_without_spaces_is_read_token_by_token():
    assert of("这部电影 good", (0, 2), (2, 4), (5, 9)) == (["这部", "电影", "good"], [-1, 0, 1, 2])


def test_the_rest_of_a_text_keeps_its_words():
    assert of("good film", (0, 4))[0] == ["good", "film"]


@pytest.mark.parametrize("trim_offsets", [True, False])
def test_bytes_of_one_letter_are_one_word(trim_offsets: bool):
    backend = ByteLevelBPETokenizer(trim_offsets=trim_offsets)
    backend.train_from_iterator(["a film of note"], vocab_size=270, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer)
    text = "a naïve 😀 film"
    encoded = tokenizer([text], return_offsets_mapping=True)
    words, owners = merge_words([text], [split_words(text).offsets], locate_tokens(encoded)[0])
    assert [text[word.start : word.end] for word in words] == ["a", "naïve", "😀", "film"]
    assert sorted({owner for owner in owners if owner >= 0}) == [0, 1, 2, 3]
    assert owners.count(2) >= 4
