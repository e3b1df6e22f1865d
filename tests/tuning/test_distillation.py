"""In every task a student learns a finished run's answers, target by target, and runs without it afterwards."""

import csv
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import small
from conftest import review, save_tokenizer, write_reviews
from test_all_tasks import write_chats, write_pairs
from transformers import AutoTokenizer

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.runs.load_run import rebuild
from lightune.runs.run_folder import Run
from lightune.runs.teacher import load_teacher
from lightune.tuning.distillation import Teacher, soft_loss

Train = Callable[..., dict[str, float]]


def test_the_soft_loss_follows_hinton_et_al():
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    p, q = (teacher / 4).softmax(-1), (student / 4).softmax(-1)
    wanted = 16 * (p * (p / q).log()).sum(-1).mean()
    loss = soft_loss(student, teacher, problem_type="single_label_classification", temperature=4)
    torch.testing.assert_close(loss, wanted)
    assert soft_loss(student[:0], teacher[:0], problem_type=None, temperature=4) == 0
    squared = soft_loss(student, teacher, problem_type="regression", temperature=4)
    assert squared == pytest.approx((4 + 1 + 0 + 4) / 4)
    p, q = (teacher / 4).sigmoid(), (student / 4).sigmoid()
    wanted = -16 * (p * q.log() + (1 - p) * (1 - q).log()).mean()
    loss = soft_loss(student, teacher, problem_type="multi_label_classification", temperature=4)
    torch.testing.assert_close(loss, wanted)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A BERT without dropout: equal weights give equal answers."""
    save_tokenizer(tmp_path / "base")
    model = small("bert")
    model.config.hidden_dropout_prob = 0.0
    model.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def rows_of(task: str, folder: Path) -> list[str]:
    """Write the data of a task; return the options that name it."""
    file = folder / "rows.jsonl"
    if task in ("classes", "masked_lm", "windows"):
        windows = ["data.max_length=6", "data.doc_stride=1"] if task == "windows" else []
        return [f"data.path={write_reviews(folder / 'rows.csv', 60)}", *windows]
    if task in ("translation", "summarization"):
        write_pairs(file, 60)
        more = [] if task == "translation" else ["data.source_column=en", "data.target_column=de"]
        return [f"data.path={file}", "data.max_target_length=8", *more]
    if task == "dialogue":
        return [f"data.path={write_chats(file, 60)}"]
    rng = random.Random(0)
    with file.open("w") as lines:
        for index in range(60):
            word = rng.choice(["good", "fine", "superb"])
            context = "the story is a " + "very " * rng.randint(0, 3) + f"{word} plot"
            row = {
                "text": context, "number": index + 0.5, "several": ["x"] if index % 2 else ["x", "y"],
                "tokens": context.split(), "tags": ["O"] * (len(context.split()) - 2) + ["B-X", "O"],
                "question": "film", "context": context,
                "answers": {"text": [word], "answer_start": [context.index(word)]},
            }  # fmt: skip
            lines.write(json.dumps(row) + "\n")
    more = {
        "regression": ["data.label_column=number"],
        "several": ["data.label_column=several"],
        "token_classification": ["data.tokens_column=tokens", "data.label_column=tags", "data.doc_stride=8"],
        "question_answering": ["data.doc_stride=8"],
    }
    return [f"data.path={file}", *more[task]]


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("classes", []),
        ("classes", ["tuning=lora"]),
        ("windows", []),
        ("classes", ["tuning=frozen", "tuning.num_layers=1"]),
        ("regression", []),
        ("token_classification", ["trainer.accumulate_grad_batches=2"]),
        ("question_answering", []),
        ("translation", []),
        ("summarization", []),
        ("dialogue", []),
        ("masked_lm", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "".join(value[:1]),
)
def test_a_student_with_the_teachers_answers_has_nothing_to_learn(
    train_here: Train, base: Path, tmp_path: Path, task: str, more: list[str]
):
    """Its loss would be above 0 if targets were misplaced, padding counted, or the teacher had other inputs."""
    name = task if task not in ("classes", "regression", "windows") else "text_classification"
    options = [
        f"task={name}", "data=local", "model.pooling=null", *rows_of(task, tmp_path), f"model.pretrained_model_name_or_path={base}",
        "data.batch_size=4", "optimizer.lr=1e-2", "trainer.max_steps=2", "trainer.log_every_n_steps=1",
        "+trainer.num_sanity_val_steps=0", "data.max_eval_samples=4",
    ]  # fmt: skip
    if name in ("translation", "summarization", "dialogue"):
        options.append("task.generation.max_new_tokens=4")
    train_here(*options)
    teacher = (tmp_path / "run").rename(tmp_path / "teacher")

    def losses(*student: str) -> list[float]:
        train_here(*options, "optimizer.lr=0", f"distill.teacher={teacher}", "distill.alpha=1", *student)
        with (tmp_path / "run" / "metrics.csv").open() as file:
            return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]

    assert losses(f"model.from_run={teacher}", *more) == pytest.approx([0, 0], abs=1e-4)
    assert min(losses()) > 1e-4


def test_a_student_learns_from_the_teacher_alone_and_runs_without_it(
    train_here: Train, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Its own labels are random."""
    rng = random.Random(0)
    data = write_reviews(tmp_path / "test.csv", 80, seed=1)
    with (tmp_path / "train.csv").open("w") as file:
        file.write("text,label\n")
        for index in range(300):
            text = review(("negative", "positive")[index % 2], rng)
            file.write(f"{text},{rng.choice(('negative', 'positive'))}\n")
    teacher = tmp_path / "teacher"
    shutil.copytree(finished_run, teacher)
    options = [
        "data=local", f"data.path.train={tmp_path}/train.csv", f"data.path.validation={data}",
        f"data.path.test={data}", "data.batch_size=8", "optimizer.lr=3e-3", "model.num_hidden_layers=1",
    ]  # fmt: skip
    alone = train_here(*options, "trainer.max_steps=1")
    taught = train_here(*options, f"distill.teacher={teacher}", "distill.alpha=1")
    assert taught["test/accuracy"] > 0.9
    assert taught["parameters/total"] == alone["parameters/total"]
    run = Run(tmp_path / "run")
    assert sum(t.numel() for t in run.best_checkpoint()["state_dict"].values()) == taught["parameters/total"]
    shutil.rmtree(teacher)
    capsys.readouterr()
    cli.main(["evaluate", str(run.folder)])
    assert f"{taught['test/accuracy']:.4f}" in capsys.readouterr().out


@pytest.fixture
def taught_by(finished_run: Path) -> Callable[..., Teacher | None]:
    def load(**changed: Any) -> Teacher | None:
        settings: dict[str, Any] = {
            "teacher": str(finished_run), "temperature": 2.0, "alpha": 1.0, "task_name": "text_classification",
            "max_length": 32, "tokenizer": AutoTokenizer.from_pretrained(finished_run / "model"),
        }  # fmt: skip
        return load_teacher(**settings | changed)

    return load


def head(*names: str, kind: str = "single_label_classification") -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "problem_type": kind}


def test_labels_are_compared_by_name(finished_run: Path, taught_by):
    teacher = taught_by()
    teacher.check_labels(head("positive", "negative"))
    student = rebuild(finished_run)[1].eval()
    batch = {
        "input_ids": torch.arange(5, 15).view(2, 5),
        "attention_mask": torch.ones(2, 5).long(),
        "labels": torch.zeros(2).long(),
    }
    logits = student(batch).detach()
    given = {"labels": batch["labels"], "batch": batch}
    loss, targets = teacher.distillation_loss(torch.tensor(1.0), logits.flip(-1), **given)
    assert (loss.item(), targets) == (pytest.approx(0, abs=1e-6), 2)
    assert teacher.distillation_loss(torch.tensor(1.0), logits, **given)[0] > 1e-3


def test_a_step_is_the_mean_over_all_rows_however_those_without_a_label_fall_into_batches(
    finished_run: Path, taught_by
):
    student, teacher = rebuild(finished_run)[1], taught_by(alpha=0.25)
    student.recipe = replace(student.recipe, teacher=teacher)
    generator = torch.Generator().manual_seed(0)
    ids, logits = torch.randint(5, 40, (6, 5), generator=generator), torch.randn(6, 2, generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1, -1, -1, -1, 1])}

    def total(rows: slice) -> torch.Tensor:
        part = {name: values[rows] for name, values in batch.items()}
        loss, targets = teacher.distillation_loss(
            student.loss(logits[rows], part)[0], logits[rows], labels=part["labels"], batch=part
        )
        return loss * targets

    soft = soft_loss(logits, teacher.answer(batch), problem_type="single_label_classification", temperature=2)
    hard = torch.nn.functional.cross_entropy(logits, batch["labels"], ignore_index=-1, reduction="sum")
    torch.testing.assert_close(total(slice(6)), 6 * 0.25 * soft + 0.75 * hard)
    torch.testing.assert_close(total(slice(2)) + total(slice(2, 5)) + total(slice(5, 6)), total(slice(6)))


@pytest.mark.parametrize("task", ["regression", "several", "token_classification"])
def test_rows_without_labels_teach_the_teachers_answers(train_here: Train, base: Path, tmp_path: Path, task: str):
    """One training row has a label; a copy of the teacher answers all rows as it does."""
    name = task if task == "token_classification" else "text_classification"
    options = [
        f"task={name}", "data=local", "model.pooling=null", *rows_of(task, tmp_path),
        f"model.pretrained_model_name_or_path={base}", "data.batch_size=4", "optimizer.lr=1e-2", "trainer.max_steps=2",
        "trainer.log_every_n_steps=1", "+trainer.num_sanity_val_steps=0", "data.max_eval_samples=4",
    ]  # fmt: skip
    train_here(*options)
    teacher = (tmp_path / "run").rename(tmp_path / "teacher")
    unlabelled = tmp_path / "unlabelled.jsonl"
    texts = [{"text": f"the story is {word}", "tokens": ["a", word]} for word in ("good", "fine", "superb") * 20]
    unlabelled.write_text("\n".join(map(json.dumps, texts)))

    def losses(*student: str) -> list[float]:
        train_here(
            *options, "optimizer.lr=0", f"distill.teacher={teacher}", f"data.unlabeled_path={unlabelled}",
            "data.max_train_samples=1", *student,
        )  # fmt: skip
        with (tmp_path / "run" / "metrics.csv").open() as file:
            return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]

    alike, other = losses(f"model.from_run={teacher}", "distill.alpha=1"), losses("distill.alpha=1")
    assert min(other) > max(alike) + 1e-6
    # a cross-entropy is at least the teacher's entropy
    assert task == "several" or alike == pytest.approx([0, 0], abs=1e-4)


def test_few_labels_and_many_rows_without_one_make_a_good_student(
    train_here: Train, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data, few = write_reviews(tmp_path / "test.csv", 80, seed=1), write_reviews(tmp_path / "few.csv", 4)
    unlabelled = tmp_path / "unlabelled.csv"
    rng = random.Random(0)
    unlabelled.write_text("text\n" + "".join(review(("negative", "positive")[i % 2], rng) + "\n" for i in range(300)))
    options = [
        "data=local", f"data.path.train={few}", f"data.path.validation={data}", f"data.path.test={data}",
        "data.batch_size=8", "optimizer.lr=3e-3", "model.num_hidden_layers=1", f"data.unlabeled_path={unlabelled}",
    ]  # fmt: skip
    taught = train_here(*options, f"distill.teacher={finished_run}")
    assert taught["test/accuracy"] > 0.9
    unlabelled.unlink()
    capsys.readouterr()
    cli.main(["evaluate", str(tmp_path / "run")])
    assert f"{taught['test/accuracy']:.4f}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        train_here(*options)
    assert "rows without labels need a teacher's answers: distill.teacher=RUN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["bad", "good"], "single_label_classification"),
        (["negative", "positive"], "multi_label_classification"),
    ],
)
def test_other_labels_are_refused_and_both_lists_shown(taught_by, names: list[str], kind: str):
    with pytest.raises(UserError, match="other labels") as refused:
        taught_by().check_labels(head(*names, kind=kind))
    assert "negative, positive (single_label_classification)" in str(refused.value)
    assert f"{', '.join(names)} ({kind})" in str(refused.value)


def test_an_unsuitable_teacher_is_refused(taught_by, tmp_path: Path, finished_run: Path):
    assert taught_by(teacher=None) is None
    other = save_tokenizer(tmp_path / "other")
    other.add_tokens(["masterpiece"])
    unfinished = tmp_path / "unfinished"
    shutil.copytree(finished_run, unfinished, ignore=shutil.ignore_patterns("*.ckpt"))
    for changed, message in (
        ({"teacher": str(tmp_path)}, str(tmp_path)),
        ({"teacher": str(unfinished)}, "has not finished an epoch"),
        ({"task_name": "dialogue"}, "for task=text_classification, not task=dialogue"),
        ({"tokenizer": other}, "another tokenizer than the student"),
    ):
        with pytest.raises(UserError) as refused:
            taught_by(**changed)
        assert message in str(refused.value)
        assert len(str(refused.value).splitlines()) <= 5
