"""Every task: a run, measured again from its folder, and its predictions."""

import json
import random
from pathlib import Path

import pandas
import pytest
from conftest import ROOT, SHARED, command, save_tokenizer, write_reviews

import lightune
from lightune.commands import cli
from lightune.runs.checkpoint_io import read_checkpoint

OPPOSITE = {"good": "bad", "great": "awful", "fine": "poor", "lovely": "boring", "superb": "dire"}


def write_pairs(path: Path, rows: int) -> Path:
    """Write JSON lines of ``en`` and ``de``: a praising word becomes its opposite, in a text of uneven length."""
    rng = random.Random(0)
    with path.open("w") as file:
        for index in range(rows):
            word = rng.choice(list(OPPOSITE))
            row = {
                "en": f"{index} {word}",
                "de": f"the story is {OPPOSITE[word]}" + " very" * rng.randint(0, 3),
            }
            file.write(json.dumps(row) + "\n")
    return path


def write_chats(path: Path, rows: int) -> Path:
    """Write JSON lines of ``messages``, in which the assistant says the opposite."""
    rng = random.Random(0)
    with path.open("w") as file:
        for _ in range(rows):
            messages = []
            for word in rng.sample(list(OPPOSITE), 2):
                messages.append({"role": "user", "content": word})
                messages.append({"role": "assistant", "content": OPPOSITE[word]})
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


@pytest.fixture
def again(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Measure the run of ``train_here`` again and predict with it, from a file too; return what that printed."""

    def run(metrics: dict[str, float], *arguments: str) -> list[dict]:
        for name in ("best", "last"):  # optimizer, schedule and callbacks too are plain values
            read_checkpoint(tmp_path / "run" / "checkpoints" / f"{name}.ckpt")
        capsys.readouterr()
        cli.main(["evaluate", str(tmp_path / "run")])
        printed = capsys.readouterr().out
        for name, value in metrics.items():
            if name.startswith("test/") and name.count("/") == 1:
                assert f"{value:.4f}" in printed, name
        cli.main(["predict", str(tmp_path / "run"), *arguments])
        printed = capsys.readouterr().out
        (tmp_path / "again.jsonl").write_text(f"{printed}nonsense\n", encoding="utf-8")
        cli.main(["predict", str(tmp_path / "run"), "--file", str(tmp_path / "again.jsonl")])
        from_file = capsys.readouterr()
        assert from_file.out == printed
        assert "1 rejected" in from_file.err
        with (tmp_path / "again.jsonl").open(encoding="utf-8") as piped, monkeypatch.context() as patched:
            patched.setattr("sys.stdin", piped)
            cli.main(["predict", str(tmp_path / "run")])
        from_pipe = capsys.readouterr()
        assert from_pipe.out == printed and "1 rejected" in from_pipe.err
        for name, read in {"again.csv": pandas.read_csv, "again.parquet": pandas.read_parquet}.items():
            cli.main(["predict", str(tmp_path / "run"), *arguments, "--out", str(tmp_path / name)])
            table = read(tmp_path / name)
            assert len(table) == len(printed.splitlines())
            assert {column.partition(".")[0] for column in table} == {*json.loads(printed.splitlines()[0])}
        rows = [json.loads(line) for line in printed.splitlines()]
        loaded = lightune.load(tmp_path / "run")
        inputs = [{name: row[name] for name in loaded.preprocessor.input_columns} for row in rows]
        assert json.loads(json.dumps(loaded.predict(inputs))) == rows
        return rows

    return run


def test_translation(train_here, again, tmp_path: Path):
    data = write_pairs(tmp_path / "pairs.jsonl", 300)
    metrics = train_here(
        "task=translation", "data=local", f"data.path={data}", "data.batch_size=16", "optimizer.lr=8e-3",
        "data.max_target_length=16", "trainer.max_epochs=6", "task.generation.num_beams=2",
    )  # fmt: skip
    assert metrics["val/bleu"] > 30
    assert metrics["test/perplexity"] < 4
    signatures = json.loads((tmp_path / "run" / "signatures.json").read_text())
    assert "tok:13a" in signatures["bleu"]
    assert "nc:6" in signatures["chrf"]
    rows = again(metrics, "--text", "1 good", "--text", "2 superb", "--text", "3 fine")
    assert [row["en"] for row in rows] == ["1 good", "2 superb", "3 fine"]
    assert all(row["generated_text"].startswith("the story is") for row in rows)
    assert "bad" in rows[0]["generated_text"]


def test_question_answering(train_here, again, tmp_path: Path):
    rng = random.Random(0)
    qas = []
    for index in range(240):
        praise = rng.choice(list(OPPOSITE))
        context = f"the film is {praise} and the plot is {rng.choice(list(OPPOSITE.values()))}"
        answer = {"text": praise, "answer_start": context.index(praise)}
        qas.append({"context": context, "qas": [{"id": str(index), "question": "film", "answers": [answer]}]})
    (tmp_path / "train-v1.1.json").write_text(json.dumps({"data": [{"title": "T", "paragraphs": qas}]}))
    metrics = train_here(
        "task=question_answering", "data=local", f"data.path={tmp_path}/train-v1.1.json", "data.doc_stride=8",
        "optimizer.lr=5e-3", "trainer.max_epochs=3",
    )  # fmt: skip
    assert metrics["test/exact_match"] > 0.9
    asked = [("--question", "film", "--context", f"the film is {word} with a plot") for word in OPPOSITE]
    rows = again(metrics, *(argument for pair in asked[:3] for argument in pair))
    assert [row["answer"] for row in rows] == ["good", "great", "fine"]
    assert [row["context"][row["start"] : row["end"]] for row in rows] == ["good", "great", "fine"]


def test_summarization_with_several_references(train_here, again, tmp_path: Path):
    write_pairs(tmp_path / "train.jsonl", 40)
    for name in ("validation", "test"):
        rows = [{"en": "good fine", "de": summary} for summary in ("a film", "the story")]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    metrics = train_here(
        "task=summarization", "data=local", "data.source_column=en", "data.target_column=de",
        *(f"data.path.{name}={tmp_path / name}.jsonl" for name in ("train", "validation", "test")),
        "data.max_target_length=8", "trainer.max_epochs=1",
    )  # fmt: skip
    assert {"val/rouge1", "val/rouge2", "test/rougeL", "test/rougeLsum"} <= set(metrics)
    assert len(again(metrics, "--text", "good", "--text", "bad", "--text", "a film")) == 3


def test_dialogue(train_here, again, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = write_chats(tmp_path / "chats.jsonl", 300)
    with caplog.at_level("INFO"):
        metrics = train_here(
            "task=dialogue", "data=local", f"data.path={data}", "data.batch_size=16", "optimizer.lr=8e-3",
            "trainer.max_epochs=6", "task.generation.max_new_tokens=5",
        )  # fmt: skip
    assert metrics["val/perplexity"] < 2
    assert metrics["test/distinct1"] > 0
    assert "prediction" in caplog.text
    assert "reference" in caplog.text
    rows = again(metrics, "--text", "good", "--text", "superb", "--text", "fine")
    assert [row["generated_text"] for row in rows][:2] == ["bad", "dire"]


@pytest.mark.parametrize("task", ["translation", "summarization", "instruction"])
def test_a_decoder_is_prompted(task: str, train_here, again, tiny_llama: Path, tmp_path: Path):
    """An encoder-decoder and a chat model do the same task with the same data, options and commands."""
    data = write_pairs(tmp_path / "pairs.jsonl", 300)
    columns = {
        "translation": [],
        "summarization": ["data.source_column=en", "data.target_column=de"],
        "instruction": ["data.prompt='a film: {en}'", "data.target_column=de", "task.metrics=[bleu]"],
    }
    metrics = train_here(
        f"task={task}", "data=local", f"data.path={data}", f"model.pretrained_model_name_or_path='{tiny_llama}'",
        "data.batch_size=16", "optimizer.lr=2e-2", "data.max_target_length=16", "trainer.max_epochs=4", *columns[task],
    )  # fmt: skip
    assert metrics["test/bleu" if task != "summarization" else "test/rougeL"] > 0.3
    assert metrics["test/perplexity"] < 4
    rows = again(metrics, "--text", "1 good", "--text", "2 superb", "--text", "3 fine")
    assert [row["en"] for row in rows] == ["1 good", "2 superb", "3 fine"]
    assert all(row["generated_text"].startswith("the story is") for row in rows)


def test_further_pretraining_and_fine_tuning_from_it(train_here, again, tmp_path: Path):
    data = write_reviews(tmp_path / "reviews.csv", 200)
    metrics = train_here(
        "task=masked_lm", "data=local", f"data.path={data}", "data.batch_size=8", "optimizer.lr=3e-3",
        "trainer.max_epochs=2",
    )  # fmt: skip
    assert metrics["test/perplexity"] < 60
    rows = again(metrics, "--text", "a very [MASK] film", "--text", "the [MASK] is [MASK]", "--text", "[MASK]")
    assert [len(row["masks"]) for row in rows] == [1, 2, 1]
    first = tmp_path / "first"
    (tmp_path / "run").rename(first)
    tuned = train_here("data=local", f"data.path={data}", f"model.from_run={first}", "trainer.max_epochs=1")
    assert "test/accuracy" in tuned


def test_masked_lm_reads_the_texts_of_any_data_set(train_here, tmp_path: Path):
    data = write_reviews(tmp_path / "reviews.csv", 60)
    metrics = train_here("task=masked_lm", "data=imdb", f"data.path={data}", "trainer.max_epochs=1")
    assert "test/perplexity" in metrics


def test_two_processes_make_the_step_of_one(tmp_path: Path):
    """Ranks hold targets of uneven number: the loss is still the mean over all of them."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer = save_tokenizer(tmp_path / "bert")
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    ).save_pretrained(tmp_path / "bert")  # fmt: skip
    data = write_pairs(tmp_path / "pairs.jsonl", 62)  # 48 of them for training: none comes twice
    weights = []
    for devices, rows in ((1, 12), (2, 6)):
        folder = tmp_path / str(devices)
        done = command(
            str(ROOT / "train.py"), "task=translation", "data=local", f"data.path={data}",
            f"model.pretrained_model_name_or_path={tmp_path / 'bert'}", "data.max_length=16", "data.max_target_length=16",
            f"data.batch_size={rows}", "trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true",
            f"trainer.devices={devices}", "trainer.max_epochs=1", "report=false",
            "+trainer.num_sanity_val_steps=0", "optimizer._target_=torch.optim.SGD", "~optimizer.betas", "~optimizer.eps", "optimizer.lr=0.5",
            f"hydra.run.dir={folder}",
            cwd=tmp_path, LIGHTUNE_ALLOWED_TARGETS="torch.optim.SGD",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        weights.append(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    start = BertModel.from_pretrained(tmp_path / "bert").embeddings.word_embeddings.weight
    one, two = weights
    assert (one["model.encoder.embeddings.word_embeddings.weight"] - start).abs().max() > 1e-4
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-6), name


def test_a_new_data_set_is_one_yaml(tmp_path: Path, tiny_bert: Path):
    write_pairs(tmp_path / "pairs.jsonl", 60)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "opposites.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /task: translation\n"
        f"data:\n  task: translation\n  path: {tmp_path}/pairs.jsonl\n  max_length: 16\n  max_target_length: 8\n"
    )
    done = command(
        str(ROOT / "train.py"), "--config-dir", str(tmp_path / "conf"), "data=opposites", "trainer=debug",
        f"model.pretrained_model_name_or_path='{tiny_bert}'", f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test/bleu" in json.loads((tmp_path / "run" / "metrics.json").read_text())


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data sets do not lie beside the project")
@pytest.mark.parametrize(
    ("data", "folder", "measured"),
    [
        ("wnut_17", "wnut_17", "test/f1/person"),
        ("squad", "squad", "test/exact_match"),
        ("multi30k", "multi30k", "test/chrf"),
        ("dialogsum", "dialogsum", "test/rougeLsum"),
        ("dialogsum_turns", "dialogsum", "test/distinct2"),
    ],
)
def test_public_data_sets_train(train_here, data: str, folder: str, measured: str):
    short = {
        "wnut_17": ["data.doc_stride=8"],
        "squad": ["data.doc_stride=8", "data.max_length=64", "data.batch_size=32"],
    }
    metrics = train_here(
        f"data={data}", f"data.path={SHARED / folder}", "data.max_train_samples=24", "data.max_eval_samples=4",
        "trainer.max_epochs=1", *short.get(data, ["task.generation.max_new_tokens=8"]),
    )  # fmt: skip
    assert measured in metrics
