from pathlib import Path

import pytest
import torch
from conftest import save_tokenizer
from text_writers import CAUSAL, GREEDY, dialogues, saved, task

from lightune.common.errors import UserError
from lightune.tasks import CausalLM


@pytest.fixture(params=["encoder", *CAUSAL])
def speaker(request: pytest.FixtureRequest, tiny_bert: Path, tmp_path: Path) -> Path:
    """A folder of each kind of model that goes on with a text."""
    return tiny_bert if request.param == "encoder" else saved(tmp_path / request.param, CAUSAL[request.param])


def test_every_architecture_goes_on_with_a_dialogue(speaker: Path):
    made = task(CausalLM, speaker)
    batch = dialogues([[2, 7, 8], [2, 9]])
    loss, count = made.loss(made(batch), batch)
    loss.backward()
    assert count == 6
    assert [name for name, p in made.model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_each_reply_token_sees_only_those_before_it(speaker: Path):
    made = task(CausalLM, speaker).eval()
    batch, other = dialogues([[2]] * 2), dialogues([[2]] * 2)
    other["input_ids"][:, 3] = 7
    with torch.no_grad():
        # three targets in each row, from the fourth token on
        one, two = (made.at_targets(made(each), each).unflatten(0, (2, 3)) for each in (batch, other))
    assert torch.allclose(one[:, :1], two[:, :1], atol=1e-5)
    assert not torch.allclose(one[:, 1], two[:, 1], atol=1e-5)


def test_the_loss_is_transformers_own(speaker: Path):
    made = task(CausalLM, speaker).eval()
    batch = dialogues([[2]] * 3)
    with torch.no_grad():
        theirs = made.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]
        ).loss
        assert made.loss(made(batch), batch)[0] == pytest.approx(theirs.item(), abs=1e-5)


def test_replies_do_not_depend_on_the_padding_of_their_batch(speaker: Path):
    made = task(CausalLM, speaker).eval()
    prompts = [[2, 7, 8, 9, 10, 11, 12], [2, 9], [2, 30, 31, 32]]
    together = made.generate(dialogues(prompts))
    alone = [made.generate(dialogues([prompt]))[0] for prompt in prompts]
    assert together == alone


def test_replies_are_what_the_models_own_logits_say_step_by_step(speaker: Path):
    made = task(CausalLM, speaker).eval()
    prompts = [[2, 7, 8, 9, 10], [2, 9]]
    together = made.generate(dialogues(prompts))
    for prompt, reply in zip(prompts, together, strict=True):
        tokens = torch.tensor([prompt])
        ends = made.model.generation_config.eos_token_id
        for _ in range(GREEDY["max_new_tokens"]):
            with torch.no_grad():
                logits = made.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
            following = logits[0, -1].argmax().item()
            tokens = torch.cat([tokens, torch.tensor([[following]])], dim=1)
            if following in ends:
                break
        written = made.tokenizer.decode(
            tokens[0, len(prompt) :], skip_special_tokens=True, clean_up_tokenization_spaces=True
        )
        assert reply == written.strip()


def test_a_chat_templates_end_of_turn_ends_a_reply_too(tiny_bert: Path, tmp_path: Path):
    tokenizer = save_tokenizer(tmp_path / "chat")
    tokenizer.eos_token = "[SEP]"
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + ' [MASK]' }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "chat")
    CAUSAL["gpt2"]().save_pretrained(tmp_path / "chat")
    made = task(CausalLM, tmp_path / "chat")
    ends = made.model.generation_config.eos_token_id
    assert {tokenizer.mask_token_id, tokenizer.eos_token_id} <= set(ends)


def test_a_prompt_leaves_room_for_the_reply(speaker: Path):
    made = task(CausalLM, speaker).eval()  # of 64 positions, but for Qwen's
    long = list(range(5, 69))
    assert len(made.generate(dialogues([long, [2, 9]]))) == 2


@pytest.mark.parametrize("name", ["gpt2", "roberta"])
def test_a_reply_longer_than_the_models_positions_is_refused(tmp_path: Path, name: str):
    folder = saved(tmp_path, CAUSAL[name])
    positions = 64 if name == "gpt2" else 65
    with pytest.raises(
        UserError, match=f"max_new_tokens={positions + 1}: this model has positions for {positions} tok"
    ):
        task(CausalLM, folder, generation={"max_new_tokens": positions + 1})
    made = task(CausalLM, folder, generation={"max_new_tokens": positions}).eval()
    assert len(made.generate(dialogues([[2, 7, 8], [2, 9]]))) == 2


def test_perplexity_by_word_is_the_same_loss_over_words(tiny_bert: Path):
    made = task(CausalLM, tiny_bert).eval()
    made.sample.num_rows = 0
    batch = dialogues([[2]] * 2)
    word = made.tokenizer.convert_tokens_to_ids("film")
    end = made.tokenizer.convert_tokens_to_ids("[SEP]")
    # "film film [SEP]" and "film [SEP] film": two words each
    batch["labels"] = torch.tensor([[-100, -100, -100, word, word, end], [-100, -100, -100, word, end, word]])
    with torch.no_grad():
        made._evaluate(made.val, batch)
    figures = made.val.compute()
    assert figures["val/word_perplexity"].log() == pytest.approx(figures["val/loss"].item() * 6 / 4, rel=1e-5)
