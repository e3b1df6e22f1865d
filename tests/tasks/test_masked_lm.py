from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import from_run
from transformers import AutoModel, AutoModelForSequenceClassification, GPT2Config, GPT2LMHeadModel

from lightune.common.errors import UserError
from lightune.models.pretrained import PretrainedModel
from lightune.runs.run_folder import Run
from lightune.tasks import MaskedLM, TextClassification
from lightune.tuning import freezing
from lightune.tuning.optimizer_and_schedule import schedule
from lightune.tuning.recipe import Recipe

RECIPE = Recipe(
    tuning=freezing.full,
    optimizer=partial(torch.optim.AdamW, lr=1e-3),
    scheduler=partial(schedule, name="linear", warmup_ratio=0.1),
)
HEAD = {"num_labels": 2, "id2label": {0: "n", 1: "p"}, "problem_type": "single_label_classification"}


def finished(made: MaskedLM | TextClassification, folder: Path) -> Run:
    run = Run(folder)
    run.save_model_files(made.pretrained_tokenizer, made.model)
    run.best.parent.mkdir(parents=True)
    torch.save({"state_dict": made.state_dict()}, run.best)
    return run


def task(pretrained: PretrainedModel, kind: type = MaskedLM, **settings):
    made = kind(pretrained=pretrained, head={} if kind is MaskedLM else HEAD, recipe=RECIPE)
    made.pretrained_tokenizer = pretrained.load_tokenizer()
    return made


def test_loss_is_over_the_hidden_tokens(tiny_bert: Path):
    made = task(PretrainedModel(pretrained_model_name_or_path=str(tiny_bert))).eval()
    ids = torch.randint(5, 40, (2, 8), generator=torch.Generator().manual_seed(0))
    labels = torch.full_like(ids, -100)
    labels[0, 2], labels[1, 5] = 7, 9
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    with torch.no_grad():
        logits = made(batch)
        loss, count = made.loss(logits, batch)
        theirs = made.model(input_ids=ids, labels=labels).loss
    assert count == 2
    assert loss == pytest.approx(theirs.item(), abs=1e-6)


def test_the_best_tokens_for_each_mask_are_offered(tiny_bert: Path):
    made = task(PretrainedModel(pretrained_model_name_or_path=str(tiny_bert))).eval()
    mask = made.tokenizer.mask_token_id
    ids = torch.tensor([[2, mask, 9, 3], [2, mask, mask, 3]])
    rows = made.predict_step({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, 0)
    assert [len(row["masks"]) for row in rows] == [1, 2]
    scores = [offer["score"] for offer in rows[0]["masks"][0]]
    assert scores == sorted(scores, reverse=True)
    assert isinstance(rows[0]["masks"][0][0]["token"], str)


@pytest.mark.parametrize(("auto_class", "head"), [(AutoModel, {}), (AutoModelForSequenceClassification, HEAD)])
def test_fine_tuning_goes_on_from_a_runs_best_weights(tiny_bert: Path, tmp_path: Path, auto_class, head: dict):
    made = task(PretrainedModel(pretrained_model_name_or_path=str(tiny_bert)))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1)
    finished(made, tmp_path / "run")
    model = from_run(tmp_path / "run").load_model(auto_class, **head)
    found = dict(model.base_model.named_parameters())
    for name, parameter in made.model.bert.named_parameters():
        assert torch.equal(parameter, found[name]), name


def test_a_run_with_a_pooled_head_is_gone_on_from_too(tiny_bert: Path, tmp_path: Path):
    made = task(PretrainedModel(pretrained_model_name_or_path=str(tiny_bert), pooling="mean"), TextClassification)
    finished(made, tmp_path / "run")
    model = from_run(tmp_path / "run").load_model(AutoModel)
    found = dict(model.named_parameters())
    for name, parameter in made.model.encoder.named_parameters():
        assert torch.equal(parameter, found[name]), name


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="model.from_run: .* is not the folder of a run"):
        from_run(tmp_path).load_tokenizer()


def test_a_model_that_fills_no_masks_is_refused(tmp_path: Path):
    GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"\(gpt2\) does not fit this task"):
        MaskedLM.check(PretrainedModel(pretrained_model_name_or_path=str(tmp_path)))
