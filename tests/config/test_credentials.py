import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, command, write_reviews

from lightune.commands import cli
from lightune.common.errors import UserError
from lightune.config.credentials import check_credentials, hide, redact

SECRETS = [
    ("+logger.wandb.api_key", "abc,d"),
    ("+model.token", "x"),
    ("+hf_token", "hf_abc"),
    ("+a.password", "1234"),
    ("logger.mlflow.tracking_uri", "https://me:pass@host/path"),
    ("data.path", "https://only-a-token@host/data.csv"),
    ("data.path", "https://host/data.csv?a=1&access_token=abc"),
    ("+anything", "hf_" + "a" * 34),
    ("+hydra.job.env_set.WANDB_API_KEY", "abc"),
]
HARMLESS = [
    ("data.tokens_column", "tokens"),
    ("data.max_tokens_per_batch", "8192"),
    ("+tokenizer.pad_token", "<pad>"),
    ("data.label_column", "token"),
    ("model.revision", "a" * 40),
    ("data.path", "ssh://git@host/x"),
    ("+model.use_auth_token", "true"),
    ("+model.token", "${oc.env:HF_TOKEN}"),
    ("+model.token", "${oc.env:HF_TOKEN,null}"),
    ("logger.mlflow.tracking_uri", "https://me:${oc.env:PASSWORD}@host"),
]


@pytest.fixture(autouse=True)
def _no_secrets_stay() -> Iterator[None]:
    yield
    for name in [name for name in os.environ if name.startswith("LIGHTUNE_SECRET_")]:
        del os.environ[name]


@pytest.mark.parametrize(("option", "value"), SECRETS)
def test_a_secret_on_the_command_line_is_named_not_said(option: str, value: str):
    for quoted in (value, f"'{value}'"):
        (hidden,) = hide([f"{option}={quoted}"])
        assert hidden.startswith(f"{option}=${{oc.env:LIGHTUNE_SECRET_")
        assert value not in hidden
        assert os.environ[hidden.partition("oc.env:")[2].partition(",")[0]] == value


@pytest.mark.parametrize(("option", "value"), HARMLESS)
def test_what_only_looks_like_a_secret_stays(option: str, value: str):
    assert hide([f"{option}={value}"]) == [f"{option}={value}"]
    check_credentials({"a": {option.strip("+"): value}})


@pytest.mark.parametrize(("option", "value"), [*SECRETS, ("token", "${oc.env:X,abc}"), ("password", 1234)])
def test_a_secret_in_a_file_is_refused_without_being_told(option: str, value: object):
    with pytest.raises(UserError) as refused:
        check_credentials({"a": [{option.strip("+"): value}]})
    assert f"a.0.{option.strip('+')} holds a secret" in str(refused.value)
    assert str(value) not in str(refused.value)
    with pytest.raises(UserError, match="holds a secret"):
        check_credentials({"hydra": {"overrides": {"task": [f"{option}={value}"]}}})


def test_messages_show_no_password():
    text = 'https://me:pw1@host/x?token=pw2&b=1 +logger.wandb.api_key=pw3, {"password": "pw4"} hf_' + "p" * 34
    said = redact(text)
    assert not any(secret in said for secret in ("pw1", "pw2", "pw3", "pw4", "ppp"))
    assert "host/x" in said
    assert redact("data.path=a.csv pad_token=<pad>") == "data.path=a.csv pad_token=<pad>"


@pytest.mark.slow
def test_a_sweep_with_secrets_writes_none_of_them_and_can_be_read_again(
    tmp_path: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
):
    data = write_reviews(tmp_path / "reviews.csv", 40)
    (tmp_path / "own.py").write_text(
        "import lightning\nclass Own(lightning.Callback):\n    def __init__(self, **secrets): pass\n"
    )
    done = command(
        str(ROOT / "train.py"), "-m", "data=local", f"data.path={data}", "data.max_length=32", "trainer=debug",
        f"model.pretrained_model_name_or_path='{tiny_bert}'", "seed=0", f"hydra.sweep.dir={tmp_path / 'sweep'}",
        "+callbacks.own._target_=own.Own", "+callbacks.own.api_key=hunter2-by-key",
        "+callbacks.own.url=https://me:hunter2-by-url@host/x", "+callbacks.own.password='hunter2, quoted'",
        cwd=tmp_path, LIGHTUNE_ALLOWED_TARGETS="own", PYTHONPATH=str(tmp_path), HF_TOKEN="hunter2-by-environment", WANDB_API_KEY="hunter2-by-environment",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tmp_path / "sweep" / "0"
    assert (run / "checkpoints" / "best.ckpt").is_file()
    leaking = [file for file in (tmp_path / "sweep").rglob("*") if file.is_file() and b"hunter2" in file.read_bytes()]
    assert leaking == []
    assert "hunter2" not in done.stdout + done.stderr
    cli.main(["predict", str(run), "--text", "a good film"])
    assert '"label"' in capsys.readouterr().out


def test_a_secret_in_a_yaml_file_ends_before_a_folder_is_made(tmp_path: Path):
    (tmp_path / "conf" / "logger").mkdir(parents=True)
    (tmp_path / "conf" / "logger" / "mine.yaml").write_text("defaults: [csv]\nmine: {token: hunter2}\n")
    done = command(str(ROOT / "train.py"), "--config-dir", "conf", "logger=mine", cwd=tmp_path)
    assert done.returncode == 1
    assert "logger.mine.token holds a secret" in done.stderr
    assert "hunter2" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["conf"]
