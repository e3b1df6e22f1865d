import pytest
from conftest import ROOT, command

from lightune.common.errors import UserError
from lightune.config import check_composed

pytestmark = pytest.mark.slow


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
    (task / "tagging.yaml").write_text("# @package _global_\ntask_name: tagging\ntask: {}\npreprocessor: {}\n")
    message = complaint("--config-dir", str(tmp_path), "task=tagging", "data=imdb", "optimizer.lr=1e-4")
    assert "data=imdb is for task=text_classification" in message


def test_local_data_without_a_path_says_how_to_name_it(tiny_bert):
    message = complaint("data=local", f"model.pretrained_model_name_or_path='{tiny_bert}'", "data.max_length=32")
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
        "import sys; sys.argv = ['train.py', '--help']\n"
        "from lightune import train\n"
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


def composed(*overrides: str):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", list(overrides), return_hydra_config=True)


@pytest.mark.parametrize(
    "overrides",
    [
        ["+hydra.callbacks.mine._target_=torch.load"],
        ["+hydra.callbacks.mine={_target_: hydra.experimental.callbacks.PickleJobInfoCallback}"],
        ["+hydra.callbacks.mine='${evil}'", "+evil={_target_: torch.load}"],
        ["+hydra.callbacks.mine='${hydra.evil}'", "+hydra.evil={_target_: torch.load}"],
        ["hydra.launcher._target_=subprocess.run"],
        ["hydra.sweeper._target_=torch.load"],
        ["+hydra.sweeper.sampler._target_=torch.load"],
        ["hydra.sweeper.params='${evil}'", "+evil={_target_: torch.load}"],
        ["hydra.job_logging.handlers.file.class=logging.handlers.SocketHandler"],
        ["+hydra.hydra_logging.formatters.simple.class=mine.Formatter"],
        ["hydra.job_logging.handlers.console.stream='ext://os.environ'"],
        [
            "hydra.job_logging.handlers.console='${evil.${hydra:job.num}}'",
            "+evil={one: {class: mine.Handler}}",
        ],
        ["hydra.job_logging.handlers.console.class='${hydra:job.name}'"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_what_hydra_would_call_of_itself_is_checked(overrides: list[str]):
    with pytest.raises(UserError, match=r"^hydra\.\S+=.* is refused"):
        check_composed(composed(*overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["hydra/job_logging=stdout", "hydra/hydra_logging=disabled"],
        ["hydra.run.dir=/anywhere/else"],
        ["hydra.sweep.subdir='${hydra:job.override_dirname}'", "seed=1"],
        ["hydra.output_subdir=null"],
        ["hydra.job_logging.root.level='${oc.env:LEVEL,INFO}'"],
    ],
)
def test_what_hydra_brings_and_a_person_may_choose_passes(overrides: list[str]):
    check_composed(composed(*overrides))


def test_a_person_may_allow_a_callback_of_hydra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIGHTUNE_ALLOWED_TARGETS", "hydra.experimental.callbacks")
    cfg = composed("+hydra.callbacks.mine._target_=hydra.experimental.callbacks.LogJobReturnCallback")
    check_composed(cfg)


@pytest.mark.parametrize(
    "override",
    ["hydra.sweep.subdir=../x", "hydra.sweep.subdir=/x", "hydra.output_subdir=../x", "hydra.job.name=../x"],
)
def test_a_name_in_hydras_node_stays_inside_its_folder(override: str):
    with pytest.raises(UserError, match="it leads out of"):
        check_composed(composed(override))


@pytest.mark.parametrize("choice", ["data=../data/imdb", "model=../model/bert"])
def test_a_choice_of_a_group_cannot_lead_out_of_the_outputs(choice: str, tmp_path):
    said = command(str(ROOT / "train.py"), choice, cwd=tmp_path)
    assert said.returncode == 1
    assert f"{choice.partition('=')[0]}='../" in said.stderr
    assert "Traceback" not in said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_a_recipe_that_somebody_sent_calls_nothing_before_it_is_checked(mode: list[str], tmp_path):
    made = tmp_path / "made"
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "sent.yaml").write_text(
        f"# @package _global_\nhydra: {{callbacks: {{x: {{_target_: pathlib.Path.touch, self: {made}}}}}}}\n"
    )
    chosen = "experiment=squad_minilm,sent" if mode else "experiment=sent"
    done = command(str(ROOT / "train.py"), *mode, "--config-dir", "conf", chosen, cwd=tmp_path)
    assert done.returncode == 1
    assert "hydra.callbacks.x._target_=pathlib.Path.touch is refused" in done.stderr
    assert "Traceback" not in done.stderr
    assert not made.exists()
    assert not (tmp_path / "outputs").exists()


def test_the_pickle_of_a_former_run_is_not_run_again(tmp_path):
    assert "it reads a pickle" in complaint("--experimental-rerun", str(tmp_path / "config.pickle"))
    assert "it reads a pickle" in complaint(f"--experimental-re={tmp_path / 'config.pickle'}")


def test_a_password_is_not_printed(tmp_path, tiny_bert):
    done = command(
        str(ROOT / "train.py"), "data=local", "data.path='${oc.env:WHERE}'", "data.max_length=32",
        f"model.pretrained_model_name_or_path='{tiny_bert}'", f"hydra.run.dir={tmp_path / 'run'}",
        WHERE="https://me:hunter2@host/data.csv", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "***@host/data.csv" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert not [f for f in (tmp_path / "run").rglob("*") if f.is_file() and b"hunter2" in f.read_bytes()]


@pytest.mark.parametrize(
    "arguments",
    [
        ["data=imdb", "--cfg", "job", "model=bert", "-p", "model"],
        ["--cfg=job", "data=imdb", "--package=model", "model=bert"],
        ["model=bert", "--config-dir", "a=b", "data=imdb", "-c", "job", "trainer=cpu", "-p", "model"],
    ],
)
def test_flags_may_stand_between_overrides(tmp_path, arguments: list[str]):
    (tmp_path / "a=b").mkdir()
    done = command(str(ROOT / "train.py"), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "bert-base-uncased" in done.stdout


def test_a_sweep_may_be_asked_for_between_overrides():
    message = complaint("data=imdb", "-m", "model=bret", "seed=0,1")
    assert "Did you mean 'bert'" in message


@pytest.mark.parametrize(
    ("option", "others"),
    [
        ("data.path", []),
        ("data.path", ["-m", "seed=0,1"]),
        ("report", []),
        ("hydra.run.dir", []),
        ("hydra.sweep.dir", ["-m", "seed=0,1"]),
    ],
)
def test_an_unset_variable_is_told_by_name_and_option(option: str, others: list[str], tmp_path):
    message = complaint(f"hydra.sweep.dir={tmp_path}", f"{option}=${{oc.env:LIGHTUNE_NOWHERE}}", *others)
    assert f"{option} takes the environment variable LIGHTUNE_NOWHERE, which is not set" in message
    assert "${oc.env:LIGHTUNE_NOWHERE,VALUE}" in message
