"""Bad input, as a user gives it: a clear error before training, or a warning with counts and a run that goes on."""

import gzip
import io
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from conftest import TRAIN, command, write_reviews
from hydra.core.plugins import Plugins

from lightune.common import packages
from lightune.config import friendly_errors, guarded_command_line

H = "text,label\n"
BODY = "".join(f"a good film {i},positive\na bad film {i},negative\n" for i in range(20))
ROWS = H + BODY
JSON = [{"text": f"a film {i}", "label": "ab"[i % 2]} for i in range(30)]


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def changed(**changes: dict[int, object]) -> str:
    """Return JSON lines with other values in some rows, counted from 1."""
    return lines([row | {k: v[i] for k, v in changes.items() if i in v} for i, row in enumerate(JSON, 1)])


def zipped(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, ROWS)
    return packed.getvalue()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_bert: Path, capfd: pytest.CaptureFixture[str]):
    """Run ``python train.py`` in this process and an empty folder, with the tiny model; return exit code and output."""
    work = tmp_path / "work"
    work.mkdir()
    root = logging.getLogger()

    def log_to_stdout(*_: object) -> None:
        root.handlers = [logging.StreamHandler(sys.stdout)]
        root.setLevel(logging.INFO)

    Plugins.instance()  # which loads the last of these
    for module in (
        "hydra.core.utils",
        "hydra._internal.hydra",
        "hydra._internal.core_plugins.basic_launcher",
    ):  # dictConfig would close pytest's streams
        monkeypatch.setattr(sys.modules[module], "configure_log", log_to_stdout)
    before = root.handlers, root.level

    def run(*arguments: str) -> tuple[int, str]:
        from lightune import train

        monkeypatch.chdir(work)
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        capfd.readouterr()
        code = 0
        try:
            with friendly_errors(train.CONF), guarded_command_line():
                train.train()
        except SystemExit as stopped:
            code = stopped.code
        finally:
            root.handlers, root.level = before
        printed = capfd.readouterr()
        assert "Traceback" not in printed.out + printed.err
        if code:
            assert code == 1
            assert printed.err.startswith("error: ")
            assert len(printed.err.splitlines()) <= 5
            assert not list(work.rglob("*.ckpt"))
        return code, printed.err if code else printed.out + printed.err

    return run


@pytest.fixture
def given(said, tmp_path: Path, tiny_bert: Path) -> Callable[..., tuple[int, str]]:
    """Train on files as they are given, the only one or their folder."""

    def run(files: dict[str, str | bytes], *overrides: str) -> tuple[int, str]:
        folder = tmp_path / "given"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        path = folder / next(iter(files)) if len(files) == 1 else folder
        return said(
            "data=local", f"data.path={path}", f"model.pretrained_model_name_or_path='{tiny_bert}'",
            "data.max_length=32", "trainer=debug", "trainer.detect_anomaly=false", "report=false", *overrides,
        )  # fmt: skip

    return run


TAGGING = ("task=token_classification", "data.doc_stride=8")
REFUSED = {
    # empty
    "a header alone": ({"a.csv": H}, (), "a.csv: there are no rows"),
    "an empty train split": ({"train.csv": H, "test.csv": ROWS}, (), "train.csv: there are no rows"),
    "an empty file": ({"a.csv": ""}, (), "a.csv: the file is empty"),
    "an empty list": ({"a.json": "[]"}, (), "a.json: there are no rows"),
    # missing
    "no label in CSV": ({"a.csv": ROWS + "x,\ny,\n"}, (), "a.csv: The train split has no label in column 'label' of 2 row(s): row 41, 42"),
    "no label in JSON": ({"a.jsonl": changed(label={4: None, 6: " "})}, (), "no label in column 'label' of 2 row(s): row 4, 6"),
    "no text": ({"a.jsonl": changed(text={4: None, 6: None})}, (), "no text in column 'text' of 2 row(s): row 4, 6"),
    "a list for a text": ({"a.jsonl": changed(text={i: ["a", "b"] for i in range(31)})}, (), "row 1, column 'text': ['a', 'b'] is not a text"),
    "only empty texts": ({"a.csv": H + ",yes\n,no\n" * 10}, (), "training rows are the same or empty"),
    "no such column": ({"a.csv": "Text,label\n" + BODY}, (), "no column 'text'. Did you mean 'Text'"),
    # labels
    "unknown labels": ({"train.csv": ROWS, "test.csv": H + "a,negative\nb,positve\nc,neutral\nd,neutral\n"}, (),
        "The test split, row 2, column 'label': 'positve' is not one of the labels. Did you mean 'positive'? Available: negative, positive.\n2 more such row(s): row 3, 4."),
    "labels out of range": ({"a.jsonl": lines([{"text": f"x {i}", "label": i % 3} for i in range(30)])}, ("data.label_names=[no,yes]",),
        "row 3, column 'label': 2 is not one of the labels. Available: no, yes"),
    "a word among numbers": ({"a.csv": H + "".join(f"a {i},{i % 4}.5\n" for i in range(40)) + "b,many\n"}, (), "row 41, column 'label': 'many' is not a number"),
    "one class": ({"a.csv": H + "".join(f"a {i},yes\n" for i in range(9))}, (), "1 label(s): yes"),
    "tags that are all ignored": ({"a.jsonl": lines([{"tokens": ["a", "b"], "ner_tags": [-100, -100]}] * 9)}, TAGGING, "numbers without names"),
    "tags that are all O": ({"a.jsonl": lines([{"tokens": ["a", "b"], "ner_tags": ["O", "O"]}] * 9)}, TAGGING, "no tag other than O"),
    # not well-formed
    "Latin-1": ({"a.csv": (ROWS + "naïve,positive\n").encode("latin-1")}, (), "a.csv, line 42: not UTF-8: b'na\\xefve,positiv'.\nConvert it, for example: iconv -f WINDOWS-1252"),
    "UTF-16": ({"a.csv": ROWS.encode("utf-16")}, (), "iconv -f UTF-16"),
    "a row too long": ({"a.csv": ROWS + "a, b,positive\n"}, (), "a.csv, line 42: the row has 3 value(s) for 2 columns: 'a,  b, positive'"),
    "a row too short": ({"a.csv": ROWS + "a film\n" + BODY}, (), "a.csv, line 42: the row has 1 value(s) for 2 columns"),
    "a quote not closed": ({"a.csv": ROWS + '"a film,positive\n' + BODY}, (), "line 42: the row has 1 value(s) for 2 columns", "It goes on to line 82: is a double quote not closed?"),
    "semicolons after a comma": ({"a.csv": "text, long;label\n" + BODY.replace(",", ";")}, (), "line 2: the row has 1 value(s) for 2 columns", "separated by ';'? Then set 'data.delimiter=\";\"'"),
    "semicolons": ({"a.csv": ROWS.replace(",", ";")}, (), "separated by ';', not by ','", "'data.delimiter=\";\"'"),
    "a delimiter of two": ({"a.csv": ROWS}, ("data.delimiter=ab",), "data.delimiter='ab': expected one character"),
    "a bad line of JSON": ({"a.jsonl": lines(JSON[:5]) + '{"text": \n' + lines(JSON)}, (), "a.jsonl, line 6: not well-formed JSON"),
    "a bad list of JSON": ({"a.json": '[{"text": "a"},\n {"text": }]'}, (), "a.json, line 2: not well-formed JSON"),
    # another format
    "JSON called CSV": ({"a.csv": lines(JSON)}, (), "its content is not CSV: it is JSON.\nRename it to end in .json or .jsonl"),
    "CSV called JSON": ({"a.jsonl": ROWS}, (), "it begins with 'text,label"),
    "CSV called Parquet": ({"a.parquet": ROWS}, (), "its content is not Parquet"),
    "Excel called CSV": ({"a.csv": zipped("[Content_Types].xml", "xl/workbook.xml")}, (), "it is an Excel workbook.\nSave it as CSV"),
    "Excel": ({"a.xlsx": zipped("[Content_Types].xml", "xl/workbook.xml")}, (), "it is an Excel workbook"),
    "a ZIP archive": ({"a.csv": zipped("train.csv")}, (), "it is a ZIP archive.\nUnpack it"),
    "a web page": ({"a.csv": "<!DOCTYPE html>\n<html>Not found, sorry</html>"}, (), "it is a web page"),
    "gzip without .gz": ({"a.csv": gzip.compress(ROWS.encode())}, (), "packed with gzip.\nAdd .gz"),
    "a pointer of LFS": ({"a.csv": "version https://git-lfs.github.com/spec/v1\noid x\n"}, (), "git lfs pull"),
    "binary": ({"a.csv": bytes(range(256))}, (), "it is not text"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_data_that_cannot_be_trained_on_is_refused(case: str, given):
    files, overrides, *parts = REFUSED[case]
    code, message = given(files, *overrides)
    assert code == 1
    for part in parts:
        assert part in message


TOLD = {
    "empty texts": ({"a.csv": ROWS + ",positive\n ,negative\n"}, (), "train: 2 of 42 rows have an empty text in column 'text': row 41, 42"),
    "repeated rows": ({"a.csv": ROWS + BODY}, (), "of 61 rows repeat another; data.drop_duplicates=true leaves them out"),
    "labels that differ in case": ({"a.csv": ROWS + "".join(f"a fine film {i},Positive\n" for i in range(9))}, (), "labels differ only in case, spaces or the spelling of a number: 'Positive' and 'positive'"),
    "several labels": ({"a.jsonl": lines([{"text": f"a film {i}", "label": {"toxic": i % 2, "insult": i // 2 % 2}} for i in range(40)])}, (), "data.label_column=label: a 0 or 1 for each label, so several labels at once: toxic, insult"),
    "rows of train and test": ({"train.csv": ROWS, "test.csv": H + "\n".join(BODY.splitlines()[:8])}, (), "test: 8 of 8 rows are also in train", "data.drop_leaked=true"),
    "uneven classes": ({"train.csv": H + "".join(f"a {i},{'no' if i < 400 else 'yes'}\n" for i in range(412)), "validation.csv": ROWS.replace("positive", "yes").replace("negative", "no"), "test.csv": H + "b,no\n"}, (),
        "train: classes are uneven: no 400 … yes 12; look at f1, not at accuracy: monitor.metric=val/f1 monitor.mode=max data.sampling=balanced"),
    "labels that train lacks": ({"train.csv": ROWS, "test.csv": H + "b,neutral\nc,neutral\nd,negative\n"}, ("data.label_names=[negative,neutral,positive]",),
        "test: 2 of 3 rows have a label that no training row has: neutral"),
    "a label a row": ({"a.csv": H + "".join(f"a {i},label {i}\n" for i in range(40))}, (), "train: 40 labels for 31 rows: is data.label_column the right column?"),
    "long texts": ({"train.csv": H + "".join(f"{'good film ' * (20 if i % 4 == 0 else 2)}{i},{'ab'[i % 2]}\n" for i in range(100)), "validation.csv": H + "x y,a\nz,b\n", "test.csv": H + f"{'a ' * 30},a\n{'a ' * 31},b\n"}, (),
        "texts of more than data.max_length=32 tokens are cut: train 25 of 100 (25%), test 1 of 2 (50%)"),
    "names for indices in CSV": ({"a.csv": ROWS.replace("positive", "1").replace("negative", "0")}, ("data.label_names=[bad,good]",), "→ bad"),
}  # fmt: skip


@pytest.mark.parametrize("case", TOLD)
def test_what_a_person_should_know_is_told_with_counts(case: str, given):
    files, overrides, *parts = TOLD[case]
    code, printed = given(files, *overrides)
    assert code == 0, printed
    for part in parts:
        assert part in printed


OPTIONS = {
    "trainer.max_epochs=ten": "trainer.max_epochs=ten: expected a whole number or null",
    "data.batch_size=0": "data.batch_size=0: expected a whole number of at least 1",
    "data.batch_size=many": "data.batch_size=many: expected a whole number",
    "data.num_workers=-1": "of at least 0",
    "data.max_train_samples=0": "of at least 1",
    "data.max_length=0": "data.max_length=0: this model reads from 3 to 64 tokens",
    "data.max_length=long": "expected a whole number",
    "data.validation_fraction=2": "a share between 0 and 1",
    "data.drop_leaked=perhaps": "expected true or false",
    "data.truncation=middle": "expected head or tail or head_tail",
    "data.text_columns=text": "'data.text_columns=[text]'",
    "data.label_column=3": "\"data.label_column='3'\"",
    "data.path=null": "data.path=null: expected text",
    "optimizer.lr=-1": "optimizer: Invalid learning rate: -1",
    "optimizer.lr=fast": "optimizer.lr=fast: expected a number",
    "optimizer._target_=torch.optim.SGD": "torch.optim.SGD takes no betas, eps. Leave out what another class has: ~optimizer.betas ~optimizer.eps",
    "optimizer._target_=torch.optim.Adagrad": "Leave out what another class has: ~optimizer.betas\n",
    "scheduler._target_=torch.optim.lr_scheduler.StepLR": "~scheduler.name ~scheduler.warmup_ratio\nOr write conf/scheduler/NAME.yaml",
    "scheduler_interval=epochs": "scheduler_interval=epochs: expected step or epoch",
    "scheduler_monitor=val/loss": "scheduler: scheduler_monitor=val/loss is for one that watches a figure",
    "optimizer.betas=0.9": "expected a list [a number, a number]",
    "scheduler.warmup_ratio=2": "expected a number from 0 to 1",
    "scheduler.name=lineal": "scheduler: lineal is not a valid SchedulerType",
    "seed=abc": "seed=abc: expected a whole number from 0",
    "seed=-1": "seed=-1: expected a whole number from 0",
    "profile=maybe": "expected true or false",
    "monitor.metric=val/loss": "monitor.mode=min",
    "model.pooling=max": "expected mean or cls or null",
    "model.revision=5": "\"model.revision='5'\"",
    "model.gradient_checkpointing=maybe": "expected true or false or offload",
    "model.attention_dropout=2": "expected a number from 0 to 1",
    "trainer.accelerator=tpux": "trainer: You selected an invalid accelerator name",
    "trainer.precision=17": "trainer: Precision 17 is invalid",
    "trainer.strategy=dpp": "trainer: You selected an invalid strategy name",
    "trainer.devices=0": "trainer: `Trainer(devices=0)`",
    "trainer.devices=many": "trainer: ",
    "trainer.max_epochs=-1": "a schedule needs an end",
    "trainer.accumulate_grad_batches=0": "of at least 1",
    "trainer.log_every_n_steps=0": "of at least 1",
    "trainer.val_check_interval=0": "val_check_interval=0",
    "trainer.val_check_interval=100": "an epoch has 1 batches, and none would be validated",
    "trainer.limit_train_batches=1.5": "limit_train_batches",
    "trainer.limit_train_batches=0": "nothing would be trained",
    "trainer.limit_val_batches=0": "One batch is 1",
    "trainer.limit_test_batches=0.0": "One batch is 1",
    "trainer.limit_train_batches=0.1": "less than one of 1 batches",
    "trainer.limit_val_batches=0.1": "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=0.1": "trainer.limit_test_batches=1",
    "trainer.gradient_clip_val=-1": "expected 0 or more",
    "trainer.use_distributed_sampler=true": "the DataModule distributes rows itself",
    "+trainer.overfit_batches=2": "data.max_train_samples=64",
    "+trainer.num_sanity_val_steps=-2": "-1 for all",
    "+trainer.enable_checkpointing=false": "measured on its best checkpoint",
    "+trainer.barebones=true": "a run needs the checkpoints",
    "+trainer.logger=true": "logger=tensorboard",
    "+trainer.callbacks=[{_target_:lightune.training.callbacks.EpochLog}]": "+callbacks.NAME._target_=…",
    "+trainer.plugins=[{_target_:lightune.training.callbacks.EpochLog}]": "a plugin that writes checkpoints",
    "+trainer.max_time=abc": "Expected a string in the format DD:HH:MM:SS",
    "+trainer.reload_dataloaders_every_n_epochs=-1": "reload_dataloaders_every_n_epochs",
    "+trainer.fast_dev_run=-1": "fast_dev_run=-1",
    "+trainer.max_epoch=3": "There is no option 'trainer.max_epoch'. Did you mean 'max_epochs'",
    "callbacks.early_stopping.patience=x": "expected a whole number",
    "~data": "data: a run needs one option of this group",
    "data=null": "A group is chosen by one of its names, in data=null too",
    "~callbacks": "callbacks: a run needs one option",
    "~data.path": "data.path is not in the configuration",
    "hydra.run.dir=/proc/run": "Cannot write the run's folder: /proc/run",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_that_cannot_be_is_refused(option: str, given):
    code, message = given({"a.csv": ROWS}, option)
    assert code == 1
    assert OPTIONS[option] in message


@pytest.mark.parametrize("option", ["tuning=qlora", "optimizer=adamw_8bit"])
def test_a_package_that_is_missing_is_named(option: str, given, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    code, message = given({"a.csv": ROWS}, option)
    assert code == 1
    assert "needs bitsandbytes" in message
    assert "pip install -e '.[qlora]'" in message


def test_a_figure_that_is_not_measured_is_refused_before_the_first_epoch(given):
    code, message = given({"a.csv": ROWS}, "monitor.metric=val/acuracy", "monitor.mode=max")
    assert code == 1
    assert "monitor.metric=val/acuracy: no such figure is measured.\nDid you mean 'val/accuracy'" in message


def test_an_option_is_refused_before_anything_is_read(said, tmp_path: Path):
    nowhere = ("data=local", f"data.path={tmp_path}/no", f"model.pretrained_model_name_or_path={tmp_path}/no")
    for option in ("data.batch_size=0", "optimizer.lr=-1", "trainer.accelerator=tpux"):
        assert option.split("=")[0].split(".")[0] in said(*nowhere, option)[1].split(":")[1]


def test_a_folder_below_a_file_cannot_be_written(said, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for arguments in (
        [f"hydra.run.dir={tmp_path}/file/run"],
        ["-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}/file/s"],
    ):
        code, message = said(*arguments)
        assert code == 1
        assert f"Cannot write the run's folder: {tmp_path}/file/" in message
        assert "hydra.run.dir=DIR" in message


@pytest.mark.parametrize(
    "arguments", [["experiment=null,x"], ["~data", "seed=0,1"], ["data=null,local"], ["data=nope,local"]]
)
def test_a_sweep_over_what_is_not_there_is_refused(arguments: list[str], said):
    assert said("-m", *arguments)[0] == 1


def cut_off(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 20_000)


def with_json(name: str, content: object) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(json.dumps(content)) and None


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def edited(name: str, edit: Callable[[dict], object]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        edit(content)
        (folder / name).write_text(json.dumps(content))

    return run


MODELS = {
    "cut off": (cut_off, "model.safetensors is damaged: it was cut off: 20,000 of "),
    "cut off in its header": (lambda folder: os.truncate(folder / "model.safetensors", 100), "cut off within its header"),
    "no weights": (without("model.safetensors"), "holds no weights"),
    "a pointer of LFS": (lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs…") and None, "git lfs pull"),
    "a pointer for a tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("version https://git-lfs…") and None, "tokenizer.json is a Git LFS pointer"),
    "a pointer for a vocabulary": (lambda folder: (folder / "vocab.txt").write_text("version https://git-lfs…") and None, "vocab.txt is a Git LFS pointer"),
    "an adapter": (with_json("adapter_config.json", {"base_model_name_or_path": "bert-base-uncased"}), "is an adapter of peft, not a whole model; it was trained on bert-base-uncased"),
    "no tokenizer": (without("tokenizer.json", "tokenizer_config.json"), "its tokenizer knows no words"),
    "another tokenizer": (edited("tokenizer.json", lambda t: t["model"]["vocab"].update(extra=500)), "its token ids go up to 500, the model embeds"),
    "no padding token": (edited("tokenizer_config.json", lambda t: t.pop("pad_token")), "has no padding token"),
    "JSON that is no tokenizer": (with_json("tokenizer.json", {"a": 1}), "Cannot load tokenizer.json and tokenizer_config.json of"),
    "null for a tokenizer": (with_json("tokenizer.json", None), "Cannot load tokenizer.json"),
    "a list for its settings": (with_json("tokenizer_config.json", []), "Cannot load tokenizer.json"),
    "null for a configuration": (with_json("config.json", None), "Cannot load config.json of"),
    "a wrong configuration": (edited("config.json", lambda c: c.update(hidden_size="x")), "'hidden_size' expected int"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_a_damaged_model_is_refused_before_the_data_is_read(case: str, said, tiny_bert: Path, tmp_path: Path):
    damage, part = MODELS[case]
    shutil.copytree(tiny_bert, tmp_path / "damaged")
    damage(tmp_path / "damaged")
    code, message = said(
        "data=local", "data.path=/no/such/data.csv", f"model.pretrained_model_name_or_path={tmp_path}/damaged"
    )
    assert code == 1
    assert part in message
    assert f"{tmp_path}/damaged" in message


def test_a_model_that_is_not_there_is_answered_with_its_neighbour(said, tiny_bert: Path):
    wrong = tiny_bert.with_name("tiny bart")
    _, message = said("data=local", "data.path=x.csv", f"model.pretrained_model_name_or_path='{wrong}'")
    assert "Did you mean 'tiny bert'" in message


COUNTING = """
import runpy, sys
from lightune.data import TextClassificationPreprocessor as P
call = P.__call__
def counted(self, examples, *, training):
    print("tokenized", file=open("calls", "a"))
    return call(self, examples, training=training)
P.__call__ = counted
runpy.run_path({script!r}, run_name="__main__")
"""


def test_two_runs_at_once_have_a_folder_each_and_tokenize_once(tmp_path: Path, tiny_bert: Path):
    (tmp_path / "counting.py").write_text(COUNTING.format(script=TRAIN))
    # rows that no other test has tokenized
    data = write_reviews(tmp_path / "reviews.csv", 40, seed=1)
    arguments = [
        "counting.py", "data=local", f"data.path={data}", f"model.pretrained_model_name_or_path='{tiny_bert}'",
        "data.max_length=32", "trainer=debug", "report=false",
    ]  # fmt: skip
    started = [
        subprocess.Popen([forked.python(), *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)
    ]
    assert [one.wait(timeout=200) for one in started] == [0, 0]
    assert len(list((tmp_path / "outputs" / "local-minilm").glob("*/metrics.json"))) == 2
    assert (tmp_path / "calls").read_text().splitlines() == ["tokenized"] * 3  # a call a split


def test_workers_do_not_hang_where_tokenizers_are_parallel(tmp_path: Path, tiny_bert: Path):
    # rows that no other test has tokenized
    data = write_reviews(tmp_path / "reviews.csv", 120, seed=1)
    done = command(
        TRAIN, "data=local", f"data.path={data}", "data.max_length=32", "trainer=debug",
        f"model.pretrained_model_name_or_path='{tiny_bert}'", "data.num_workers=2", "report=false",
        cwd=tmp_path, TOKENIZERS_PARALLELISM="true",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test" in done.stdout


@pytest.mark.parametrize("value", ["Müller/r.csv", "a#b.csv", "~/no.csv", "数据.csv", "it's.csv", 'the "best".csv'])
def test_text_that_needs_quotes_is_shown_with_them(said, value: str):
    _, message = said("data=local", f"data.path={value}")
    assert "Cannot read" in message
    (advised,) = shlex.split(message.partition("\nWrite ")[2])
    _, message = said("data=local", advised)
    assert f"data.path: there is no file or folder {value}" in message


def test_what_cannot_be_taken_out_is_named_with_the_nearest(said):
    _, message = said("~trainer.max_epoch")
    assert "no option or group 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'" in message
