"""What a program imports from ``lightune``, and that it trains as ``python train.py`` does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TRAIN, command, write_reviews

import lightune

PAGE = (ROOT / "docs/guides/library.md").read_text(encoding="utf-8")


def test_what_is_exported_is_there_and_in_the_reference():
    page = (ROOT / "docs/reference/api/index.md").read_text(encoding="utf-8")
    for name in lightune.__all__:
        assert callable(getattr(lightune, name))
        assert f"`{name}`" in page, name
        assert name in dir(lightune)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lightune.nothing  # noqa: B018


def test_importing_it_loads_nothing():
    code = "import sys, lightune, lightune.common; print(*{'torch', 'lightning', 'transformers'} & {*sys.modules})"
    assert command("-c", code).stdout == "\n"


def test_type_checkers_know_its_names(tmp_path: Path):
    (tmp_path / "program.py").write_text("import lightune\n\nreveal_type(lightune.load('run').predict(['a']))\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", tmp_path / "program.py"],
        # with the settings and the cache of make check, which is strict
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'Revealed type is "list[dict[str, Any]]"' in checked.stdout.replace("builtins.", ""), checked.stdout
    assert (Path(lightune.__file__).parent / "py.typed").is_file()


def program(*, tiny_bert: Path, reviews: Path, **arguments: object) -> str:
    """Return the program of the guide, on a tiny model and for given arguments of its Trainer."""
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "trainer.fit" in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    settings = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    for old, new in {
        '"bert-base-uncased"': repr(str(tiny_bert)),
        '"reviews.csv"': repr(str(reviews)),
        "max_length=256": "max_length=32",
        "max_epochs=3": settings,
        "2e-5": "1e-3",
    }.items():
        assert old in code
        code = code.replace(old, new)
    return code


@pytest.mark.parametrize(
    "trainer",
    [{"max_epochs": 2}, {"max_epochs": 2, "accumulate_grad_batches": 3, "max_steps": 4}],
    ids=["epochs", "accumulated steps"],
)
def test_twelve_lines_give_the_weights_of_the_command(tiny_bert: Path, tmp_path: Path, trainer: dict[str, int]):
    reviews = write_reviews(tmp_path / "reviews.csv", 121)
    code = program(tiny_bert=tiny_bert, reviews=reviews, **trainer)
    (tmp_path / "program.py").write_text(f"{code}\ntrainer.save_checkpoint('library.ckpt')")
    done = command(str(tmp_path / "program.py"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command(
        TRAIN, "data=local", f"data.path={reviews}", f"model.pretrained_model_name_or_path='{tiny_bert}'",
        "model.pooling=null", "data.max_length=32", "optimizer.lr=1e-3", "report=false",
        *(f"trainer.{name}={value}" for name, value in trainer.items()), f"hydra.run.dir={tmp_path / 'run'}",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = tmp_path / "library.ckpt", tmp_path / "run/checkpoints/last.ckpt"
    own, hydras = (torch.load(file, weights_only=True) for file in files)
    assert own["global_step"] == hydras["global_step"]
    assert own["state_dict"].keys() == hydras["state_dict"].keys()
    assert all(torch.equal(own["state_dict"][name], hydras["state_dict"][name]) for name in own["state_dict"])
