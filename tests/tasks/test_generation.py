import logging
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from text_writers import CAUSAL, SEQ2SEQ, dialogues, saved, sources, task
from torch.utils.data import DataLoader

from lightune.common.errors import UserError
from lightune.models.pretrained import PretrainedModel
from lightune.runs.run_folder import Run
from lightune.tasks import CausalLM, Seq2Seq


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
