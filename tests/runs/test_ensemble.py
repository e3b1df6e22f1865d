"""Several runs answer as one by the mean of their probabilities, if they have a task, labels and tokens in common."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lightune.common.errors import UserError
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE
from lightune.runs.ensemble import common_splits, mean_logits, rebuild_together
from lightune.runs.inference import encode_rows
from lightune.runs.load_run import rebuild

Train = Callable[..., dict[str, float]]


def test_probabilities_are_averaged_where_there_are_some():
    logits = torch.tensor([[[3.0, -1.0], [90.0, -90.0]], [[0.0, 2.0], [-90.0, 90.0]]])
    torch.testing.assert_close(mean_logits(logits, SINGLE).exp(), logits.softmax(-1).mean(0))
    torch.testing.assert_close(mean_logits(logits, MULTI).sigmoid(), logits.sigmoid().mean(0))
    assert mean_logits(logits, MULTI).isfinite().all()
    for numbers in (REGRESSION, None):
        torch.testing.assert_close(mean_logits(logits, numbers), logits.mean(0))
    torch.testing.assert_close(mean_logits(logits[:1], SINGLE).exp(), logits[0].softmax(-1))


@pytest.mark.parametrize("task", ["token_classification", "question_answering"])
def test_words_and_answers_are_averaged_too(train_here: Train, tmp_path: Path, task: str):
    row = {
        "tokens": ["the", "superb", "plot"], "tags": ["O", "B-X", "O"],
        "question": "film", "context": "the superb plot", "answers": {"text": ["superb"], "answer_start": [4]},
    }  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(20)))
    columns = ["data.tokens_column=tokens", "data.label_column=tags"] if task == "token_classification" else []
    folders = []
    for seed in (0, 1):
        data = ["data=local", f"data.path={tmp_path / 'rows.jsonl'}", *columns, "data.doc_stride=4"]
        train_here(f"task={task}", *data, f"seed={seed}", "trainer.max_steps=1", "model.pooling=null")
        folders.append((tmp_path / "run").rename(tmp_path / f"run{seed}"))
    run = rebuild_together(folders)
    inputs = [["the", "superb", "plot"]] if task == "token_classification" else ["film", "the superb plot"]
    batch = run.preprocessor.collate(encode_rows(run.preprocessor, [inputs]))
    with torch.no_grad():
        members = torch.stack([rebuild(folder)[1].eval()(batch) for folder in folders])
        answer = run.task.eval()(batch)
        assert len(run.task.predict_step(batch, 0)) == 1
    assert not torch.allclose(members[0], members[1])
    if task == "token_classification":
        torch.testing.assert_close(answer.softmax(-1), members.softmax(-1).mean(0))
    else:
        torch.testing.assert_close(answer, members.mean(0))


def test_thresholds_of_several_labels_are_averaged(train_here: Train, tmp_path: Path):
    rows = [{"text": "a superb plot", "labels": ["good", "short"]}, {"text": "a dull plot", "labels": ["bad"]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(rows[n % 2]) + "\n" for n in range(40)))
    data = ["data=local", f"data.path={tmp_path / 'rows.jsonl'}", "data.label_column=labels", "trainer.max_steps=1"]
    folders = []
    for calibrate in ("true", "false"):
        train_here(*data, f"task.calibrate={calibrate}")
        folders.append((tmp_path / "run").rename(tmp_path / calibrate))
    chosen = rebuild(folders[0])[1].thresholds
    assert chosen != [0.5] * 3
    assert rebuild_together(folders).task.thresholds == pytest.approx([(one + 0.5) / 2 for one in chosen])


@pytest.fixture
def other(finished_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a copy of a run with other settings in its folder."""

    def copy(name: str, **settings: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(finished_run, folder)
        cfg = OmegaConf.load(folder / ".hydra" / "config.yaml")
        for option, value in settings.items():
            OmegaConf.update(cfg, option.replace("__", "."), value)
        OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")
        return folder

    return copy


def test_runs_that_read_otherwise_are_refused(finished_run: Path, other):
    longer = other("longer", data__max_length=48)
    with pytest.raises(UserError, match="differ in data.max_length: 32 and 48"):
        rebuild_together([finished_run, longer])
    labels = other("labels")
    for file in ("config.json", "head.json"):
        text = (labels / "model" / file).read_text()
        (labels / "model" / file).write_text(text.replace("positive", "good"))
    with pytest.raises(UserError, match="cannot answer together, as they differ in labels"):
        rebuild_together([finished_run, labels])
    words = other("words")
    vocabulary = (words / "model" / "tokenizer.json").read_text()
    (words / "model" / "tokenizer.json").write_text(vocabulary.replace('"superb"', '"gorgeous"'))
    with pytest.raises(UserError, match="differ in tokenizer"):
        rebuild_together([finished_run, words])
    # the columns of labels may have other names
    rebuild_together([finished_run, other("columns", data__label_column="verdict")])


def test_runs_that_write_are_refused(train_here: Train, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"en": "good film", "de": "fine plot"}\n' * 20)
    train_here(
        *("task=masked_lm", "data=local", f"data.path={tmp_path / 'rows.jsonl'}", "data.text_columns=[en]"),
        *("trainer.max_steps=1", "model.pooling=null"),
    )
    with pytest.raises(UserError, match="MaskedLM has no answers that several runs could average"):
        rebuild_together([tmp_path / "run", tmp_path / "run"])


def test_only_rows_that_all_have_held_out_are_common(finished_run: Path, other):
    same, moved, older = other("same"), other("moved"), other("older")
    file = moved / "predictions.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    (older / "validation_predictions.jsonl").unlink()
    assert common_splits([finished_run, same]) == ["validation", "test"]
    assert common_splits([finished_run, moved]) == ["validation"]
    assert common_splits([older, finished_run]) == ["test"]
    assert common_splits([older]) == ["validation", "test"]
