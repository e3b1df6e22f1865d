"""``python train.py`` as a user runs it, on a tiny model."""

import csv
import json
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SHARED, command, write_reviews
from datasets import ClassLabel, Dataset, Features, Value


def test_a_run_folder_holds_the_documented_files(finished_run: Path):
    for name in (
        ".hydra/config.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "confusion_matrix.csv",
        "metrics.csv",
        "metrics.json",
        "model/config.json",
        "model/tokenizer.json",
        "train.log",
    ):
        assert (finished_run / name).is_file(), name


def test_metrics_json_is_flat_and_complete(finished_run: Path):
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert all(isinstance(value, (int, float)) for value in metrics.values())
    assert {
        *(f"{stage}/{name}" for stage in ("val", "test") for name in ("loss", "accuracy", "f1", "precision", "recall")),
        "test/recall/positive",
        "train/seconds",
        "train/samples_per_second",
        "train/tokens_per_second",
        "train/padding_efficiency",
        "train/peak_memory_bytes",
        "parameters/total",
        "parameters/trainable",
    } <= set(metrics)
    assert 0 < metrics["train/padding_efficiency"] <= 1


def test_it_learns(finished_run: Path):
    assert json.loads((finished_run / "metrics.json").read_text())["test/accuracy"] >= 0.9


def test_a_run_ends_with_its_score_its_folder_and_the_next_commands(finished_run: Path):
    printed = (finished_run / "stdout.txt").read_text()
    for text in ("accuracy", "run: ", str(finished_run), "lightune predict", "lightune evaluate"):
        assert text in printed


def test_the_csv_log_has_steps_and_epochs(finished_run: Path):
    with (finished_run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows if row["val/accuracy"]][:3] == ["0", "1", "2"]
    assert any(row["train/loss"] for row in rows)
    assert any(row["train/learning_rate"] for row in rows)


def test_best_is_the_epoch_with_the_best_validation(finished_run: Path):
    with (finished_run / "metrics.csv").open() as file:
        by_epoch = [float(row["val/accuracy"]) for row in csv.DictReader(file) if row["val/accuracy"]]
    metrics = json.loads((finished_run / "metrics.json").read_text())
    best = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    assert metrics["val/accuracy"] == pytest.approx(max(by_epoch), abs=1e-6)
    assert best["epoch"] == by_epoch.index(max(by_epoch))


def test_accumulation_clipping_and_another_schedule(train_here, reviews: Path, tmp_path: Path):
    metrics = train_here(
        "data=local",
        f"data.path={reviews}",
        "trainer.max_epochs=1",
        "trainer.accumulate_grad_batches=2",
        "trainer.gradient_clip_val=0.5",
        "scheduler=cosine",
        "tuning=frozen",
        "tuning.num_layers=1",
    )
    assert metrics["parameters/trainable"] < metrics["parameters/total"]
    for name in ("best", "last"):
        torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_mixed_precision_with_clipped_gradients(train_here, reviews: Path):
    metrics = train_here("data=local", f"data.path={reviews}", "trainer.max_epochs=1", "trainer.precision=bf16-mixed")
    assert metrics["test/loss"] > 0


def test_a_run_of_a_few_steps_is_evaluated_too(train_here, reviews: Path):
    metrics = train_here("data=local", f"data.path={reviews}", "trainer.max_steps=2")
    assert {"val/accuracy", "test/accuracy"} <= set(metrics)


def test_local_columns_and_label_names_by_override(train_here, tmp_path: Path):
    rng_rows = [(f"good {i}\nfilm" if i % 2 else "NA", "yes" if i % 2 else "no") for i in range(40)]
    with (tmp_path / "odd.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Review Text", "verdict (final)"])
        writer.writerows(rng_rows)
    metrics = train_here(
        "data=local",
        f"data.path={tmp_path / 'odd.csv'}",
        "data.text_columns=[Review Text]",
        "data.label_column='verdict (final)'",
        "trainer.max_epochs=1",
    )
    assert "test/recall/yes" in metrics


def test_a_file_for_each_split(train_here, tmp_path: Path):
    for index, name in enumerate(("train", "validation", "test")):
        write_reviews(tmp_path / f"{name}.csv", 24, seed=index)
    metrics = train_here(
        "data=local",
        *(f"data.path.{name}={tmp_path / name}.csv" for name in ("train", "validation", "test")),
        "trainer.max_epochs=1",
    )
    assert "test/accuracy" in metrics


def test_regression_where_the_labels_are_numbers(train_here, tmp_path: Path):
    rows = "".join(f"good film {'very ' * (i % 5)},{i % 5 + 0.5}\n" for i in range(60))
    (tmp_path / "scores.csv").write_text("text,label\n" + rows)
    metrics = train_here("data=local", f"data.path={tmp_path / 'scores.csv'}", "trainer.max_epochs=1")
    assert {"val/pearson", "test/spearman", "test/mse"} <= set(metrics)


def test_several_labels_and_pairs_from_json_lines(train_here, tmp_path: Path):
    with (tmp_path / "rows.jsonl").open("w") as file:
        for i in range(60):
            row = {"a": "good film", "b": "bad plot" if i % 3 else "fine", "label": ["x", "y"][: i % 3]}
            file.write(json.dumps(row) + "\n")
    metrics = train_here(
        "data=local",
        f"data.path={tmp_path / 'rows.jsonl'}",
        "data.text_columns=[a,b]",
        "trainer.max_epochs=1",
    )
    assert {"test/f1", "test/precision/x"} <= set(metrics)


@pytest.fixture
def tiny_imdb(tmp_path: Path) -> Path:
    """IMDB in the Hub's own columns: parquet, class names, sorted by class, no validation split."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    folder = tmp_path / "imdb"
    folder.mkdir()
    for split in ("train", "test"):
        texts = [f"bad film {i}" for i in range(20)] + [f"good film {i}" for i in range(20)]
        Dataset.from_dict({"text": texts, "label": [0] * 20 + [1] * 20}, features=features).to_parquet(
            folder / f"{split}.parquet"
        )
    files = "".join(f"  - split: {split}\n    path: {split}.parquet\n" for split in ("train", "test"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")
    return folder


def test_the_flagship_on_local_folders(train_here, tiny_imdb: Path):
    metrics = train_here("model=bert", "data=imdb", f"data.path={tiny_imdb}", "trainer.max_epochs=1")
    assert {"test/recall/pos", "val/accuracy"} <= set(metrics)


def test_without_hub_and_folders_an_error_names_the_ways_out(tiny_imdb: Path):
    done = command(
        str(ROOT / "train.py"),
        "model=bert",
        "data=imdb",
        f"data.path={tiny_imdb}",
        HF_HUB_CACHE=str(tiny_imdb),
    )
    assert done.returncode == 1
    assert "bert-base-uncased" in done.stderr
    assert len(done.stderr.splitlines()) <= 5


def test_a_sweep_has_a_folder_per_job(tmp_path: Path, tiny_bert: Path):
    data = write_reviews(tmp_path / "reviews.csv", 40)
    done = command(
        str(ROOT / "train.py"),
        "-m",
        "data=local",
        f"data.path={data}",
        f"model.pretrained_model_name_or_path='{tiny_bert}'",
        "data.max_length=32",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "report=false",
        "optimizer.lr=1e-5,3e-5",
        "seed=0,1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    sweeps = list((tmp_path / "multirun").iterdir())
    assert len(sweeps) == 1
    jobs = sorted(folder.name for folder in sweeps[0].iterdir() if folder.is_dir())
    assert jobs == ["0", "1", "2", "3"]
    assert all((sweeps[0] / job / "metrics.json").is_file() for job in jobs)
    assert not (tmp_path / "outputs").exists()


def test_two_processes_measure_the_same_as_one(tmp_path: Path, tiny_bert: Path):
    """Of an odd number of rows on two devices, none is counted twice."""
    rows = write_reviews(tmp_path / "reviews.csv", 121)
    results = []
    for devices in ("1", "2"):
        folder = tmp_path / devices
        done = command(
            str(ROOT / "train.py"),
            "data=local",
            f"data.path={rows}",
            f"model.pretrained_model_name_or_path='{tiny_bert}'",
            "data.max_length=32",
            "data.max_eval_samples=11",
            f"data.batch_size={8 // int(devices)}",
            "trainer=ddp",
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            f"trainer.devices={devices}",
            "trainer.max_epochs=1",
            "optimizer.lr=0",
            "report=false",
            f"hydra.run.dir={folder}",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        results.append(json.loads((folder / "metrics.json").read_text()))
    one, two = results
    measured = [name for name in one if name.startswith(("val/", "test/"))]
    assert {name: two[name] for name in measured} == pytest.approx({name: one[name] for name in measured}, abs=1e-6)
    assert two["parameters/total"] == one["parameters/total"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data sets do not lie beside the project")
@pytest.mark.parametrize("name", ["imdb", "ag_news"])
def test_public_data_sets_train(train_here, name: str):
    metrics = train_here(
        f"data={name}",
        f"data.path={SHARED / name}",
        "data.max_train_samples=64",
        "data.max_eval_samples=32",
        "trainer.max_epochs=1",
    )
    assert "test/accuracy" in metrics
