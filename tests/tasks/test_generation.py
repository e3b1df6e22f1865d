import logging
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import from_run, save_tokenizer
from lightning import Trainer
from torch.utils.data import DataLoader
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from lightune.common.errors import UserError
from lightune.models.pretrained import PretrainedModel
from lightune.runs.run_folder import Run
from lightune.tasks import CausalLM, Seq2Seq
from lightune.tuning import freezing
from lightune.tuning.optimizer_and_schedule import schedule
from lightune.tuning.recipe import Recipe

GREEDY = {"max_new_tokens": 6, "num_beams": 1, "do_sample": False}


def task(kind: type, folder: Path, **settings) -> Seq2Seq | CausalLM:
    torch.manual_seed(0)
    return kind(
        **{
            "pretrained": PretrainedModel(pretrained_model_name_or_path=str(folder)),
            "head": {},
            "metrics": ["bleu", "chrf"] if kind is Seq2Seq else ["bleu", "distinct1"],
            "monitor": ["val/loss", "min"],
            "generation": GREEDY,
            "recipe": Recipe(
                tuning=freezing.full,
                optimizer=partial(torch.optim.SGD, lr=0.1),
                scheduler=partial(schedule, name="constant_with_warmup", warmup_ratio=0.0),
                num_training_steps=lambda trainer: 1,
            ),
            **settings,
        }
    )


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(5, 40, shape, generator=torch.Generator().manual_seed(seed))


def sources(rows: int, seed: int = 0) -> dict:
    labels = ids(rows, 5, seed=seed + 1)
    labels[0, 3:] = -100
    return {
        "input_ids": ids(rows, 6, seed=seed),
        "attention_mask": torch.ones(rows, 6, dtype=torch.long),
        "labels": labels,
        "rows": [{"source": "good", "references": ["a fine film"]} for _ in range(rows)],
    }


def dialogues(prompts: list[list[int]]) -> dict:
    batch = sources(len(prompts))
    batch["labels"] = torch.cat([torch.full((len(prompts), 3), -100), batch["input_ids"][:, 3:]], dim=1)
    batch["rows"] = [{"prompt_ids": prompt, "source": "good", "references": ["a fine film"]} for prompt in prompts]
    return batch


SMALL = {
    "vocab_size": 80,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "max_position_embeddings": 64,
}
HEADS = {
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
SEQ2SEQ = {
    "nllb": lambda: M2M100ForConditionalGeneration(M2M100Config(**SMALL, **HEADS, **TOKENS, decoder_start_token_id=3)),
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(
            vocab_size=80,
            d_model=32,
            d_kv=16,
            d_ff=64,
            num_layers=2,
            num_heads=2,
            decoder_start_token_id=0,
            eos_token_id=3,
        )
    ),
    "bart": lambda: BartForConditionalGeneration(BartConfig(**SMALL, **HEADS, **TOKENS, decoder_start_token_id=3)),
    "marian": lambda: MarianMTModel(MarianConfig(**SMALL, **HEADS, **TOKENS, decoder_start_token_id=0)),
    "mbart": lambda: MBartForConditionalGeneration(MBartConfig(**SMALL, **HEADS, **TOKENS, decoder_start_token_id=3)),
}
CAUSAL = {
    "roberta": lambda: RobertaForCausalLM(
        RobertaConfig(
            vocab_size=80,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=66,
            pad_token_id=0,
            is_decoder=True,
        )
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=80, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=3, eos_token_id=3)
    ),
    "qwen": lambda: Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=80,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            bos_token_id=3,
            eos_token_id=3,
        )
    ),
}


def saved(folder: Path, build) -> Path:
    torch.manual_seed(0)
    build().save_pretrained(folder)
    tokenizer = save_tokenizer(folder)
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=["encoder", *SEQ2SEQ])
def reader(request: pytest.FixtureRequest, tiny_bert: Path, tmp_path: Path) -> Path:
    """A folder of each kind of model that reads one text and writes another."""
    return tiny_bert if request.param == "encoder" else saved(tmp_path / request.param, SEQ2SEQ[request.param])


@pytest.fixture(params=["encoder", *CAUSAL])
def speaker(request: pytest.FixtureRequest, tiny_bert: Path, tmp_path: Path) -> Path:
    """A folder of each kind of model that goes on with a text."""
    return tiny_bert if request.param == "encoder" else saved(tmp_path / request.param, CAUSAL[request.param])


def test_every_architecture_reads_and_writes(reader: Path):
    made = task(Seq2Seq, reader)
    batch = sources(3)
    loss, count = made.loss(made(batch), batch)
    loss.backward()
    assert count == 13
    assert [name for name, p in made.model.named_parameters() if p.requires_grad and p.grad is None] == []
    made.eval()
    assert len(made.generate(batch)) == 3


def test_each_target_sees_only_those_before_it(reader: Path):
    made = task(Seq2Seq, reader).eval()
    batch, other = sources(2), sources(2)
    other["labels"][:, 1] = 7
    with torch.no_grad():
        one, two = made(batch), made(other)
    assert torch.allclose(one[:, :2], two[:, :2], atol=1e-5)
    assert not torch.allclose(one[:, 2], two[:, 2], atol=1e-5)


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


def test_a_target_longer_than_the_decoders_positions_is_refused(tmp_path: Path):
    folder = saved(tmp_path, SEQ2SEQ["bart"])
    with pytest.raises(UserError, match="max_new_tokens=65: this model has positions for 64 tokens, its text"):
        task(Seq2Seq, folder, generation={"max_new_tokens": 65})


def test_sampled_replies_can_be_repeated_and_leave_the_runs_random_numbers_alone(tiny_bert: Path):
    sampled = {"do_sample": True, "top_k": 50, "temperature": 5.0, "max_new_tokens": 12}
    made = task(CausalLM, tiny_bert, generation=sampled).eval()
    batch = dialogues([[2, 7], [2, 7]])
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    texts = made.generate(batch)
    assert torch.equal(torch.rand(1), expected)
    assert made.generate(batch) == texts
    assert texts[0] != texts[1]


def test_a_finished_run_generates_as_it_did(reader: Path, tmp_path: Path):
    made = task(Seq2Seq, reader, head={"forced_bos_token_id": 7}).eval()
    run = Run(tmp_path / "run")
    run.save_model_files(made.tokenizer, made.model)
    torch.save({"state_dict": made.state_dict()}, run.folder / "last.ckpt")
    again = task(
        Seq2Seq,
        reader,
        pretrained=PretrainedModel(pretrained_model_name_or_path=str(run.model), load_weights=False),
    ).eval()
    again.load_state_dict(torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"])
    assert again.model.generation_config.forced_bos_token_id == 7
    assert again.generate(sources(3)) == made.generate(sources(3))


@pytest.mark.parametrize("rows", [(16,), (4, 4, 4, 4), (7, 1, 5, 3)])
def test_the_gradient_is_that_of_the_mean_over_all_target_tokens(
    tiny_bert: Path, tmp_path: Path, rows: tuple[int, ...]
):
    """16 rows with targets of uneven length, at once or in micro-batches, make the same step."""

    def step(sizes: tuple[int, ...]) -> list[torch.Tensor]:
        made = task(Seq2Seq, tiny_bert)
        for module in made.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "dropout_prob"):
                module.dropout_prob = 0.0
        whole = sources(16)
        for index in range(16):
            whole["labels"][index, 1 + index % 5 :] = -100
        names = ("input_ids", "attention_mask", "labels")
        pieces = zip(*(whole[name].split(list(sizes)) for name in names), strict=True)
        batches = [dict(zip(names, piece, strict=True)) for piece in pieces]
        Trainer(
            accelerator="cpu",
            accumulate_grad_batches=len(sizes),
            max_steps=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=tmp_path,
        ).fit(made, DataLoader(batches, batch_size=None))
        return [p.detach().clone() for p in made.model.parameters()]

    before = [p.detach().clone() for p in task(Seq2Seq, tiny_bert).model.parameters()]
    at_once, in_pieces = step((16,)), step(rows)
    for start, one, other in zip(before, at_once, in_pieces, strict=True):
        assert torch.allclose(one - start, other - start, atol=1e-6)
    assert any(not torch.equal(start, one) for start, one in zip(before, at_once, strict=True))


def fitted(made: Seq2Seq, held_out: DataLoader, folder: Path, epochs: int) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        limit_train_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=folder,
    )
    trainer.fit(made, held_out, held_out)
    return trainer


def test_a_validation_of_a_fit_generates_for_a_sample_and_a_later_one_for_all(
    tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    made = task(Seq2Seq, tiny_bert, generation={"max_new_tokens": 2, "max_samples": 6})
    generate, seen = made.generate, []
    made.generate = lambda batch: (seen.append(len(batch["rows"])), generate(batch))[1]
    held_out = DataLoader([sources(4, seed=number) for number in range(5)], batch_size=None)
    with caplog.at_level(logging.INFO):
        trainer = fitted(made, held_out, tmp_path, epochs=2)
    sanity_check, first, second = seen[:1], seen[1:6], seen[6:]
    assert sanity_check == [1]
    assert first == second == [2, 1, 1, 1, 1]
    assert caplog.text.count("Validation generates texts for 6 of 20 rows until training ends") == 1
    assert caplog.text.count("generated 6 texts") == 2
    seen.clear()
    trainer.validate(made, held_out, verbose=False)
    assert seen == [4] * 5
    (figures,) = trainer.test(made, held_out, verbose=False)
    assert figures["test/generation/tokens_per_second"] > 0


def test_the_loss_is_over_all_rows(tiny_bert: Path, tmp_path: Path):
    losses = []
    for number in (1, None):
        made = task(Seq2Seq, tiny_bert, generation={"max_new_tokens": 2, "max_samples": number})
        held_out = DataLoader([sources(4, seed=number) for number in range(3)], batch_size=None)
        torch.manual_seed(0)
        losses.append(fitted(made, held_out, tmp_path, epochs=1).callback_metrics["val/loss"].item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("number", [0, 2.5, True])
def test_a_sample_that_is_no_number_of_rows_is_refused(tiny_bert: Path, number: object):
    with pytest.raises(UserError, match="max_samples=.*expected 1 or more rows, or null"):
        task(Seq2Seq, tiny_bert, generation={"max_samples": number})


def test_words_are_found_by_the_target_language(tiny_bert: Path):
    made = task(Seq2Seq, tiny_bert, metrics=["bleu", "rouge"], target_lang="zh")
    made.generate = lambda batch: ["我在家看书。"]
    batch = sources(1) | {"rows": [{"source": "x", "references": ["我在图书馆看书。"]}]}
    made.update(made.test.metrics, torch.empty(0), batch)
    figures = made.test.metrics.compute()
    assert figures["test/bleu"] > 10
    assert figures["test/rouge1"] == pytest.approx(2 * 4 / 12)
    assert "tok:zh" in made.signatures()["bleu"]
    assert "single characters" in made.signatures()["rouge"]
    assert "rouge" not in task(Seq2Seq, tiny_bert, metrics=["rouge"], target_lang="en").signatures()


@pytest.mark.parametrize(("language", "told"), [("de", 1), (None, 1), ("zh_CN", 0)])
def test_chinese_under_another_language_is_told_once(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture, language: str | None, told: int
):
    made = task(Seq2Seq, tiny_bert, target_lang=language)
    made.generate = lambda batch: ["x"]
    for reference in ("我在图书馆看书。", "我在图书馆看书。", "GPT-4 is 好"):
        made.update(made.test.metrics, torch.empty(0), {"rows": [{"source": "x", "references": [reference]}]})
    assert caplog.text.count("data.target_lang=zh") == told


def test_an_uncased_model_is_measured_in_what_it_can_write_and_says_so(tiny_bert: Path):
    made = task(Seq2Seq, tiny_bert)
    made.generate = lambda batch: ["a fine film"]
    batch = sources(1) | {"rows": [{"source": "x", "references": ["A Fíne FILM"]}]}
    made.update(made.test.metrics, torch.empty(0), batch)
    assert made.test.metrics["chrf"].compute() == 100
    assert "case:lc" in made.signatures()["bleu"]
    assert "lower case without accents" in made.signatures()["text"]


def test_sampling_turned_off_leaves_a_configuration_that_can_be_saved(tiny_bert: Path, tmp_path: Path):
    settings = {"do_sample": False, "temperature": 0.7, "top_p": 0.9, "num_beams": 1, "early_stopping": True}
    made = task(CausalLM, tiny_bert, generation=settings | {"max_new_tokens": 4})
    Run(tmp_path).save_model_files(made.tokenizer, made.model)
    assert (tmp_path / "model" / "generation_config.json").is_file()


def test_an_encoder_used_twice_is_gone_on_from_with_its_start_and_end(tiny_bert: Path, tmp_path: Path):
    made = task(Seq2Seq, tiny_bert).eval()
    run = Run(tmp_path / "run")
    run.save_model_files(made.tokenizer, made.model)
    run.best.parent.mkdir()
    torch.save({"state_dict": made.state_dict()}, run.best)
    again = task(Seq2Seq, tiny_bert, pretrained=from_run(run.folder)).eval()
    for name in ("eos_token_id", "decoder_start_token_id", "pad_token_id"):
        value = getattr(made.model.generation_config, name)
        assert value is not None
        assert getattr(again.model.generation_config, name) == value
    assert again.generate(sources(3)) == made.generate(sources(3))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metrics": ["blue"]}, "no metric 'blue'. Did you mean 'bleu'"),
        (
            {"metrics": ["chrf"], "monitor": ["val/bleu", "max"]},
            "val/loss, val/perplexity, val/word_perplexity, val/chrf",
        ),
        ({"monitor": ["val/loss", "least"]}, "expected a figure and min or max"),
    ],
)
def test_a_metric_that_is_not_there_is_refused_at_once(tiny_bert: Path, settings: dict, said: str):
    with pytest.raises(UserError, match=said):
        task(Seq2Seq, tiny_bert, **settings)


def test_an_unknown_generation_option_is_answered_with_the_nearest(tiny_bert: Path):
    with pytest.raises(UserError, match="no option 'num_beam'. Did you mean 'num_beams'"):
        task(Seq2Seq, tiny_bert, generation={"num_beam": 4})


@pytest.mark.parametrize(
    ("kind", "model", "said"),
    [
        (Seq2Seq, "gpt2", r"\(gpt2\) does not fit this task: .*\n.*model=t5_small"),
        (CausalLM, "t5", r"\(t5\) does not fit this task: .*\n.*model=gpt2"),
        (CausalLM, "bart", r"\(bart\) does not fit this task: it is an encoder-decoder"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_its_configuration_alone(
    kind: type, model: str, said: str, tmp_path: Path
):
    folder = saved(tmp_path / model, {**SEQ2SEQ, **CAUSAL}[model])
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=said):
        kind.check(PretrainedModel(pretrained_model_name_or_path=str(folder)))


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
