import json
from pathlib import Path

import numpy as np
import pytest
from conftest import write_reviews
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import AutoTokenizer

from lightune.common.errors import UserError
from lightune.data import DataModule, MaskedLMPreprocessor, TextClassificationPreprocessor
from lightune.data.preprocessors.labels import NO_LABEL


@pytest.fixture
def make_data(tiny_bert: Path):
    def make(
        path: object,
        *,
        max_length: int = 32,
        doc_stride: int | None = None,
        label_template: str | None = None,
        **settings: object,
    ) -> DataModule:
        preprocessor = TextClassificationPreprocessor(
            tokenizer=AutoTokenizer.from_pretrained(tiny_bert),
            text_columns=["text"],
            label_column="label",
            label_names=None,
            max_length=max_length,
            truncation="head",
            doc_stride=doc_stride,
            label_template=label_template,
        )
        defaults = {
            "path": path if isinstance(path, dict) else str(path),
            "name": None,
            "revision": None,
            "delimiter": None,
            "class_folders": None,
            "train_split": "train",
            "validation_split": "validation",
            "test_split": "test",
            "validation_fraction": 0.1,
            "test_fraction": 0.2,
            "split_seed": 0,
            "num_folds": None,
            "fold": 0,
            "group_column": None,
            "drop_duplicates": False,
            "drop_leaked": False,
            "max_train_samples": None,
            "max_eval_samples": None,
            "max_test_samples": None,
            "batch_size": 8,
            "max_tokens_per_batch": None,
            "num_workers": 0,
            "seed": 0,
        }
        data = DataModule(preprocessor=preprocessor, **{**defaults, **settings})
        data.setup()
        return data

    return make


def sizes(data: DataModule) -> dict[str, int]:
    return {split: len(rows) for split, rows in data.datasets.items()}


def numbered(start: int, stop: int) -> Dataset:
    """Rows whose token ids tell which row they are, sorted by class."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    rows = range(start, stop)
    texts = [" ".join(letters[int(digit)] for digit in f"{row:04d}") for row in rows]
    return Dataset.from_dict({"text": texts, "label": [int(row >= (start + stop) / 2) for row in rows]})


def contents(rows: Dataset) -> set[tuple[int, ...]]:
    return {tuple(ids) for ids in rows["input_ids"]}


def test_missing_splits_are_carved_stratified_and_disjoint(make_data, tmp_path: Path):
    numbered(0, 200).to_parquet(tmp_path / "rows.parquet")
    data = make_data(tmp_path / "rows.parquet")
    assert sizes(data) == {"train": 144, "validation": 16, "test": 40}
    assert np.bincount(data.datasets["validation"]["labels"]).tolist() == [8, 8]
    assert np.bincount(data.datasets["test"]["labels"]).tolist() == [20, 20]
    assert len(set.union(*(contents(rows) for rows in data.datasets.values()))) == 200


def test_validation_rows_never_come_from_test(make_data, tmp_path: Path):
    DatasetDict(train=numbered(0, 200), test=numbered(200, 300)).save_to_disk(tmp_path / "saved")
    data = make_data(tmp_path / "saved")
    assert sizes(data) == {"train": 180, "validation": 20, "test": 100}
    train = contents(make_data(tmp_path / "saved").datasets["train"])
    assert not contents(data.datasets["validation"]) & contents(data.datasets["test"])
    assert not contents(data.datasets["validation"]) & train


def test_the_run_seed_does_not_change_who_is_held_out(make_data, tmp_path: Path):
    numbered(0, 200).to_parquet(tmp_path / "rows.parquet")
    one, other = (make_data(tmp_path / "rows.parquet", seed=seed) for seed in (0, 1))
    assert contents(one.datasets["test"]) == contents(other.datasets["test"])
    moved = make_data(tmp_path / "rows.parquet", split_seed=1)
    assert contents(one.datasets["test"]) != contents(moved.datasets["test"])


def test_subsets_are_balanced_even_if_the_file_is_sorted(make_data, tmp_path: Path):
    DatasetDict(train=numbered(0, 200), test=numbered(200, 300)).save_to_disk(tmp_path / "saved")
    data = make_data(tmp_path / "saved", max_train_samples=40, max_eval_samples=10)
    assert sizes(data) == {"train": 40, "validation": 10, "test": 10}
    assert np.bincount(data.datasets["train"]["labels"]).tolist() == [20, 20]
    assert np.bincount(data.datasets["test"]["labels"]).tolist() == [5, 5]


def test_a_number_of_rows_of_each_class_is_chosen_from_train_by_the_split_seed(make_data, tmp_path: Path):
    DatasetDict(train=numbered(0, 200), test=numbered(200, 300)).save_to_disk(tmp_path / "saved")
    few, same, other = (
        make_data(tmp_path / "saved", max_train_samples_per_class=8, **s) for s in ({}, {"seed": 1}, {"split_seed": 1})
    )
    assert sizes(few) == {"train": 16, "validation": 20, "test": 100}
    assert np.bincount(few.datasets["train"]["labels"]).tolist() == [8, 8]
    assert contents(few.datasets["train"]) == contents(same.datasets["train"]) != contents(other.datasets["train"])


def test_rows_of_each_class_are_one_way_to_choose_and_need_one_label_a_row(make_data, tmp_path: Path):
    (tmp_path / "scores.csv").write_text("text,label\n" + "".join(f"a {i},{i}.5\n" for i in range(20)))
    with pytest.raises(UserError, match="rows do not have one label of several"):
        make_data(tmp_path / "scores.csv", max_train_samples_per_class=8)
    with pytest.raises(UserError, match=r"data.max_train_samples=9 and data.max_train_samples_per_class=8"):
        make_data(tmp_path / "scores.csv", max_train_samples_per_class=8, max_train_samples=9)


def test_rows_without_labels_are_trained_on_and_counted_nowhere_else(make_data, tmp_path: Path, caplog):
    DatasetDict(train=numbered(0, 200), test=numbered(200, 300)).save_to_disk(tmp_path / "saved")
    (tmp_path / "more.csv").write_text("text\n" + "a b\n" * 50)
    data = make_data(tmp_path / "saved", unlabeled_path=str(tmp_path / "more.csv"), max_train_samples=40)
    assert sizes(data) == {"train": 90, "validation": 20, "test": 100}
    assert len(data.rows["train"]) == 40
    assert data.datasets["train"]["labels"][40:] == [NO_LABEL] * 50
    assert data.head["balanced_weights"] == [1, 1]
    assert not data.warnings
    assert sum(len(batch["labels"]) for batch in data.train_dataloader()) == 90


@pytest.mark.parametrize("several", [False, True])
def test_the_names_of_the_labels_are_rows_to_train_on(make_data, tmp_path: Path, several: bool):
    names = ["good", "bad"]
    rows = [{"text": f"film {i}", "label": [names[i % 2]] if several else names[i % 2]} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain, data = (
        make_data(tmp_path / "rows.jsonl", label_template=template, max_train_samples=8)
        for template in (None, "a {} film")
    )
    assert sizes(data) == sizes(plain) | {"train": 10}
    decoded = data.preprocessor.tokenizer.batch_decode(data.datasets["train"]["input_ids"][8:])
    assert decoded == ["[CLS] a bad film [SEP]", "[CLS] a good film [SEP]"]
    assert data.datasets["train"]["labels"][8:] == ([[1, 0], [0, 1]] if several else [0, 1])
    assert sum(len(batch["labels"]) for batch in data.train_dataloader()) == 10


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        ("01", "{}", r"data.label_template={}: the label '0' says nothing about its texts.\nName all labels"),
        (["LABEL_0", "LABEL_1"], "{}", "the label 'LABEL_0' says nothing"),
        (["0.5", "1.5"], "{}", "a regression has no labels"),
        ("ab", "no place", "data.label_template=no place.*expected {} where a label's name goes"),
    ],
)
def test_labels_whose_names_say_nothing_are_no_rows(make_data, tmp_path: Path, labels, template: str, message: str):
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"film {i},{labels[i % 2]}\n" for i in range(40)))
    with pytest.raises(UserError, match=message):
        make_data(tmp_path / "rows.csv", label_template=template)


def test_balanced_sampling_needs_one_label_a_row_and_batches_of_rows(make_data, tmp_path: Path):
    more = tmp_path / "more.csv"
    more.write_text("text\na good film\n")
    DatasetDict(train=numbered(0, 200), test=numbered(200, 300)).save_to_disk(tmp_path / "saved")
    (tmp_path / "scores.csv").write_text("text,label\n" + "".join(f"a {i},{i}.5\n" for i in range(20)))
    assert len(list(make_data(tmp_path / "saved", sampling="balanced").train_dataloader())) > 1
    for name, settings in {"scores.csv": {}, "saved": {"max_tokens_per_batch": 90}}.items():
        with pytest.raises(UserError, match="data.sampling=balanced: expected one label of several"):
            make_data(tmp_path / name, sampling="balanced", **settings).train_dataloader()
    with pytest.raises(UserError, match="data.sampling=balanced"):
        make_data(tmp_path / "saved", sampling="balanced", unlabeled_path=str(more)).train_dataloader()


def test_rows_without_labels_that_cannot_be_read_are_refused(make_data, tiny_bert: Path, tmp_path: Path):
    write_reviews(tmp_path / "train.csv", 20)
    more = tmp_path / "more.csv"
    more.write_text("review\na good film\n")
    with pytest.raises(UserError, match=r"data.unlabeled_path=.*more.csv: .*text_columns"):
        make_data(tmp_path / "train.csv", unlabeled_path=str(more))
    masked = MaskedLMPreprocessor(tokenizer=AutoTokenizer.from_pretrained(tiny_bert), max_length=32)
    with pytest.raises(UserError, match="only text and token classification learn from rows without labels"):
        DataModule(preprocessor=masked, path=str(tmp_path / "train.csv"), unlabeled_path=str(more))


def test_a_test_may_have_more_rows_than_a_validation(make_data, tmp_path: Path):
    DatasetDict(train=numbered(0, 200), test=numbered(200, 300)).save_to_disk(tmp_path / "saved")
    for asked, found in {20: 20, 1000: 100}.items():
        data = make_data(tmp_path / "saved", max_eval_samples=10, max_test_samples=asked)
        assert (sizes(data)["validation"], sizes(data)["test"]) == (10, found)


def test_another_split_may_be_named_as_test(make_data, tmp_path: Path):
    DatasetDict(train=numbered(0, 100), validation=numbered(100, 150)).save_to_disk(tmp_path / "saved")
    data = make_data(tmp_path / "saved", validation_split=None, test_split="validation")
    assert sizes(data) == {"train": 90, "validation": 10, "test": 50}


def test_batches_hold_every_row_once_and_are_counted_correctly(make_data, reviews: Path):
    data = make_data(reviews)
    batches = list(data.train_dataloader())
    assert len(batches) == data.batches_per_epoch(world_size=1)
    assert sum(len(batch["labels"]) for batch in batches) == len(data.datasets["train"])
    assert sum(len(batch["labels"]) for batch in data.test_dataloader()) == len(data.datasets["test"])


def test_workers_give_the_same_batches(make_data, reviews: Path):
    here, there = (
        [batch["input_ids"].tolist() for batch in make_data(reviews, num_workers=workers).train_dataloader()]
        for workers in (0, 2)
    )
    assert here == there


def test_a_header_without_rows_is_refused(make_data, tmp_path: Path):
    (tmp_path / "header.csv").write_text("text,label\n")
    with pytest.raises(UserError, match="there are no rows"):
        make_data(tmp_path / "header.csv")


def test_an_empty_split_is_refused(make_data, tmp_path: Path):
    for name, rows in (("train", numbered(0, 20)), ("test", numbered(0, 0))):
        rows.to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match="no rows"):
        make_data(tmp_path)
    DatasetDict(train=numbered(0, 20), test=numbered(0, 0)).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match="no rows"):
        make_data(tmp_path / "saved")


def test_a_missing_split_is_refused_with_the_names_of_the_others(make_data, tmp_path: Path):
    DatasetDict(train=numbered(0, 20)).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"data.train_split=training: the data has the splits train"):
        make_data(tmp_path / "saved", train_split="training")


def test_an_unknown_label_in_validation_is_refused(make_data, tmp_path: Path):
    write_reviews(tmp_path / "train.csv", 20)
    (tmp_path / "validation.csv").write_text("text,label\ngood,positive\nfine,positve\n")
    with pytest.raises(UserError, match="validation split, row 2.*Did you mean 'positive'"):
        make_data(tmp_path)


def test_too_few_rows_to_carve_from_are_refused(make_data, tmp_path: Path):
    (tmp_path / "rows.csv").write_text("text,label\ngood,positive\nbad,negative\n")
    with pytest.raises(UserError, match=r"Cannot carve a validation split from 1 training row"):
        make_data(tmp_path / "rows.csv")


def rows_of(*texts: str, label: int | None = None) -> Dataset:
    labels = [index % 2 if label is None else label for index in range(len(texts))]
    return Dataset.from_dict({"text": list(texts), "label": labels})


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Ten rows: two repeat another, one is in validation and one in test too."""
    train = rows_of("a b", "a c", "a d", "a b", "a e", "a c", "a f", "a g", "a h", "a i")
    folder = tmp_path / "leaky"
    DatasetDict(train=train, validation=rows_of("a e", "b a"), test=rows_of("a f", "b c")).save_to_disk(folder)
    return folder


def test_repeated_rows_and_rows_of_two_splits_are_counted(make_data, leaky: Path, caplog: pytest.LogCaptureFixture):
    data = make_data(leaky)
    assert sizes(data)["train"] == 10
    assert "train: 2 of 10 rows repeat another; data.drop_duplicates=true leaves them out" in caplog.text
    assert "validation: 1 of 2 rows are also in train" in caplog.text
    assert "test: 1 of 2 rows are also in train" in caplog.text


def test_repeated_rows_and_rows_of_two_splits_are_left_out_of_train(
    make_data, leaky: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("INFO"):
        data = make_data(leaky, drop_duplicates=True, drop_leaked=True)
    assert sizes(data) == {"train": 6, "validation": 2, "test": 2}
    assert len(contents(data.datasets["train"])) == 6
    assert not contents(data.datasets["train"]) & contents(data.datasets["test"])
    assert "train: 2 row(s) left out: duplicates" in caplog.text
    assert "train: 2 row(s) left out: also held out" in caplog.text
    assert "are also in train" not in caplog.text


def test_a_clean_data_set_causes_no_warning(make_data, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    DatasetDict(train=numbered(0, 200), test=numbered(200, 300)).save_to_disk(tmp_path / "saved")
    make_data(tmp_path / "saved")
    assert not caplog.records


def test_uneven_classes_cause_a_warning(make_data, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    rows = numbered(0, 220)
    rows = rows.remove_columns("label").add_column("label", [int(row >= 200) for row in range(220)])
    rows.to_parquet(tmp_path / "rows.parquet")
    make_data(tmp_path / "rows.parquet")
    assert "train: classes are uneven: 0 " in caplog.text


def test_rows_of_one_class_are_refused(make_data, tmp_path: Path):
    from datasets import ClassLabel

    rows = numbered(0, 50).remove_columns("label").add_column("label", [1] * 50)
    DatasetDict(train=rows.cast_column("label", ClassLabel(names=["bad", "good"]))).save_to_disk(tmp_path / "s")
    with pytest.raises(UserError, match="Every training row has the label 'good', of 2"):
        make_data(tmp_path / "s")


def test_batches_have_few_widths_and_a_budget_counts_them(make_data, tmp_path: Path):
    path = tmp_path / "texts.csv"
    rows = [("a " * length, length % 2) for length in range(40, 60)] * 5
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    widths = set()
    for settings in ({"batch_size": 1}, {"max_tokens_per_batch": 200}):
        data = make_data(path, max_length=64, **settings)
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            for batch in loader:
                widths.add(batch["input_ids"].shape[1])
                assert batch["input_ids"].shape == batch["attention_mask"].shape
                assert "max_tokens_per_batch" not in settings or batch["input_ids"].numel() <= 200
    assert widths == set(range(44, 65, 4))  # of 20 lengths


def test_a_budget_counts_the_padding_of_windows(make_data, tmp_path: Path):
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"{'a ' * length},{length % 2}\n" for length in range(1, 61)))
    data = make_data(path, max_length=12, doc_stride=2, max_tokens_per_batch=100)
    windows = []
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            windows += batch["num_windows"]
            assert batch["input_ids"].numel() == sum(batch["num_windows"]) * batch["input_ids"].shape[1] <= 100
    assert len(windows) == 60 and set(windows) == {*range(1, 9)}


def test_splits_in_other_formats_spell_their_labels_alike(make_data, tmp_path: Path):
    """0 in CSV, 0.0 in JSON and in Parquet are one class."""
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"a {i},{i % 2}\n" for i in range(20)))
    (tmp_path / "validation.jsonl").write_text("".join(f'{{"text": "b {i}", "label": {i % 2}.0}}\n' for i in range(4)))
    Dataset.from_dict({"text": ["c", "d"], "label": [0.0, 1.0]}).to_parquet(tmp_path / "test.parquet")
    data = make_data(tmp_path)
    assert data.head["id2label"] == {0: "0", 1: "1"}
    assert data.datasets["validation"]["labels"][:] == [0, 1, 0, 1]
    assert data.datasets["test"]["labels"][:] == [0, 1]
    (tmp_path / "validation.jsonl").write_text('{"text": "b", "label": 0.5}\n')
    with pytest.raises(UserError, match="validation split, row 1, column 'label': 0.5 is not one of the labels"):
        make_data(tmp_path)


def test_held_out_batches_have_a_size_of_their_own(make_data, reviews: Path):
    data = make_data(path=str(reviews), batch_size=2, eval_batch_size=5)
    data.setup()
    assert {len(batch) for batch in data.train_batches(rank=0, world_size=1)} <= {1, 2}
    assert len(data.held_out_batches("test", rank=0, world_size=1)[0]) == 5


def folded(make_data, path: object, *, folds: int = 4, **settings: object) -> list[DataModule]:
    return [make_data(path, num_folds=folds, fold=fold, **settings) for fold in range(folds)]


def test_each_row_but_the_tests_is_validated_in_one_fold_whatever_the_seed(make_data, tmp_path: Path):
    numbered(0, 203).to_parquet(tmp_path / "rows.parquet")
    plain = make_data(tmp_path / "rows.parquet")
    held_out = []
    for fold, data in enumerate(folded(make_data, tmp_path / "rows.parquet")):
        assert contents(data.datasets["test"]) == contents(plain.datasets["test"])
        parts = [contents(data.datasets[split]) for split in ("train", "validation", "test")]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 203
        assert np.bincount(data.datasets["validation"]["labels"]).tolist() in ([20, 20], [20, 21], [21, 20], [21, 21])
        again = make_data(tmp_path / "rows.parquet", num_folds=4, fold=fold, seed=7, max_train_samples=20)
        assert contents(again.datasets["validation"]) == parts[1]
        assert contents(again.datasets["train"]) < parts[0]
        held_out += [*parts[1]]
    assert len(held_out) == len(set(held_out)) == 203 - len(plain.datasets["test"])
    moved = make_data(tmp_path / "rows.parquet", num_folds=4, split_seed=1)
    assert contents(moved.datasets["validation"]) != contents(
        make_data(tmp_path / "rows.parquet", num_folds=4).datasets["validation"]
    )


def test_an_own_validation_split_is_divided_together_with_train_and_the_test_stays(make_data, tmp_path: Path):
    repeated = Dataset.from_dict(numbered(0, 30)[:5])
    rows = {"train": numbered(0, 30), "validation": concatenate_datasets([numbered(30, 60), repeated])}
    DatasetDict(**rows, test=numbered(60, 80)).save_to_disk(tmp_path / "saved")
    found = folded(make_data, tmp_path / "saved", folds=3, drop_duplicates=True)
    assert all(contents(data.datasets["test"]) == contents(found[0].datasets["test"]) for data in found)
    assert sum(len(data.datasets["validation"]) for data in found) == 60
    assert len(set.union(*(contents(data.datasets["validation"]) for data in found))) == 60
    assert not any(contents(data.datasets["train"]) & contents(data.datasets["validation"]) for data in found)


def by_user(*users: str) -> Dataset:
    """Rows whose users are no column that the model reads."""
    return numbered(0, len(users)).add_column("user", [*users])


@pytest.mark.parametrize("num_folds", [None, 5])
def test_rows_of_a_group_stay_on_one_side_of_every_split(make_data, tmp_path: Path, num_folds: int | None):
    rng = np.random.default_rng(0)
    rows = by_user(*(f"u{number}" for number in rng.integers(0, 30, 240)))
    rows.to_parquet(tmp_path / "rows.parquet")
    user_of = dict(zip(rows["text"], rows["user"], strict=True))
    for fold in range(num_folds or 1):
        data = make_data(
            tmp_path / "rows.parquet", group_column="user", num_folds=num_folds, fold=fold, drop_duplicates=True
        )
        users = {split: {user_of[text] for text in found["text"]} for split, found in data.rows.items()}
        assert sum(map(len, users.values())) == 30
        assert all(found.column_names == ["text", "labels"] for found in data.rows.values())
        assert abs(sizes(data)["test"] - 48) < 16
        assert abs(sizes(data)["validation"] - 192 * (1 / num_folds if num_folds else 0.1)) < 16
        assert np.bincount(data.datasets["validation"]["labels"]).min() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fold": 1}, "data.fold=1 data.num_folds=null: expected a fold from 0 to 0"),
        ({"num_folds": 3, "fold": 3}, "data.fold=3 data.num_folds=3: expected a fold from 0 to 2"),
        ({"num_folds": 20}, r"data.num_folds=20: beside the test there are 16 row\(s\)"),
        ({"num_folds": 3, "group_column": "user"}, r"there are 2 value\(s\) of data.group_column"),
        ({"group_column": "usr"}, "data.group_column=usr: the train split has no column 'usr'. Did you mean 'user'"),
        ({"group_column": "gap"}, r"no group in column 'gap' of 1 row\(s\): row 2"),
        ({"group_column": "one"}, r"Cannot carve a test split from 1 training value\(s\) of data.group_column"),
    ],
)
def test_folds_and_groups_that_cannot_be_made_are_refused(
    make_data, tmp_path: Path, settings: dict[str, object], message: str
):
    rows = by_user(*"abc" * 6, "a", "b").add_column("one", ["x"] * 20).add_column("gap", ["x", None, *"abc" * 6])
    rows.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=message):
        make_data(tmp_path / "rows.parquet", **settings)
