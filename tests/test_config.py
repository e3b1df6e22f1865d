import pytest
from conftest import ROOT, command


def complaint(*arguments: str) -> str:
    done = command(str(ROOT / "train.py"), *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 5
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("model=bret", "Did you mean 'bert'"),
        ("modle=bert", "Did you mean 'model'"),
        ("optimizer.learning_rate=1e-5", "'optimizer.learning_rate'"),
        ("data.max_lenght=64", "Did you mean 'data.max_length'"),
        ("trainer.max_epoch=1", "Did you mean 'trainer.max_epochs'"),
        ("task=text_clasification", "Did you mean 'text_classification'"),
        ("seed=[1", "seed=[1"),
        ("model=null", "A group is chosen by one of its names"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_valid_name(argument: str, hint: str):
    assert hint in complaint(argument)


def test_a_typo_in_a_sweep_is_answered_too():
    assert "Did you mean 'bert'" in complaint("-m", "model=bret,minilm")


def test_a_data_set_under_another_task_is_refused_before_anything_is_loaded(tmp_path):
    task = tmp_path / "task"
    task.mkdir()
    (task / "tagging.yaml").write_text(
        "# @package _global_\ntask_name: tagging\ntask: {}\npreprocessor: {}\n"
    )
    message = complaint("--config-dir", str(tmp_path), "task=tagging", "data=imdb", "optimizer.lr=1e-4")
    assert "data=imdb is for task=text_classification" in message


def test_local_data_without_a_path_says_how_to_name_it(tiny_bert):
    message = complaint(
        "data=local", f"model.pretrained_model_name_or_path='{tiny_bert}'", "data.max_length=32"
    )
    assert "data.path=FILE_OR_FOLDER" in message


def test_help_lists_groups_options_and_examples():
    done = command(str(ROOT / "train.py"), "--help")
    assert done.returncode == 0
    for word in (
        "model: albert, bart_base, bert",
        "python train.py model=bert data=imdb",
        "max_train_samples",
        "-m ",
    ):
        assert word in done.stdout


def test_help_does_not_wait_for_heavy_imports():
    loaded = command(
        "-c",
        "import sys; sys.argv = ['train.py', '--help']; sys.path.insert(0, '.')\n"
        "import train\n"
        "try: train.train()\n"
        "except SystemExit: pass\n"
        "print('HEAVY', [m for m in ('torch', 'transformers', 'lightning', 'datasets') if m in sys.modules])",
    )
    assert "HEAVY []" in loaded.stdout, loaded.stdout[-300:] + loaded.stderr


def test_a_task_that_a_data_set_is_not_for_is_refused():
    message = complaint("task=token_classification", "data=imdb")
    assert "data=imdb is for task=text_classification, not task=token_classification" in message


def test_a_model_that_cannot_do_the_task_is_refused_before_its_weights_and_the_data(tmp_path):
    from transformers import GPT2Config

    GPT2Config().save_pretrained(tmp_path)
    message = complaint(
        "data=wnut_17", "data.path=/nowhere", f"model.pretrained_model_name_or_path={tmp_path}", "model=gpt2"
    )
    assert "(gpt2) does not fit this task" in message
    assert "model=minilm, bert" in message
