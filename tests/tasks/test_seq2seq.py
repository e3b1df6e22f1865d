from pathlib import Path

import pytest
import torch
from conftest import from_run
from text_writers import SEQ2SEQ, saved, sources, task

from lightune.common.errors import UserError
from lightune.models.pretrained import PretrainedModel
from lightune.runs.run_folder import Run
from lightune.tasks import Seq2Seq


@pytest.fixture(params=["encoder", *SEQ2SEQ])
def reader(request: pytest.FixtureRequest, tiny_bert: Path, tmp_path: Path) -> Path:
    """A folder of each kind of model that reads one text and writes another."""
    return tiny_bert if request.param == "encoder" else saved(tmp_path / request.param, SEQ2SEQ[request.param])


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


def test_a_target_longer_than_the_decoders_positions_is_refused(tmp_path: Path):
    folder = saved(tmp_path, SEQ2SEQ["bart"])
    with pytest.raises(UserError, match="max_new_tokens=65: this model has positions for 64 tokens, its text"):
        task(Seq2Seq, folder, generation={"max_new_tokens": 65})


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
