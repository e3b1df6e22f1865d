"""What docs/guides/own-project.md says of parts that a clone can do without."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, command, write_reviews

GUIDE = (ROOT / "docs/guides/own-project.md").read_text().partition("can do without")[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone without any of them."""
    clone = tmp_path_factory.mktemp("rest") / "clone"
    for name in ("src", "conf", "tests"):
        shutil.copytree(ROOT / name, clone / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    subprocess.run(["bash", "-euc", "\n".join(BLOCKS)], cwd=clone, check=True)
    return clone


def test_the_rest_trains_and_predicts(rest: Path, tmp_path: Path, tiny_bert: Path):
    data = write_reviews(tmp_path / "reviews.csv", 60)
    trained = command(
        "train.py", "data=local", f"data.path='{data}'", "data.max_length=32", "trainer=debug",
        f"model.pretrained_model_name_or_path='{tiny_bert}'", "hydra.run.dir=outputs/run", "report=false",
        cwd=rest, fresh=True, PYTHONPATH=str(rest / "src"),
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    commands = ["evaluate", "outputs/run"], ["predict", "outputs/run", "--text", "a fine film"], ["--help"]
    code = f"from lightune.commands.cli import main; [main(arguments) for arguments in {commands}]"
    done = command("-c", code, cwd=rest, PYTHONPATH=str(rest / "src"))
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout and '"label"' in done.stdout and "--version" in done.stdout
    assert "leaderboard" not in done.stdout


def test_nothing_of_the_rest_names_what_is_gone(rest: Path):
    for check in (
        ["-m", "ruff", "check", "src", "train.py"],
        ["-c", "from importlinter.cli import lint_imports_command as c; c()"],
        ["-c", "import lightune; print([getattr(lightune, name) for name in lightune.__all__])"],
    ):
        done = command(*check, cwd=rest, PYTHONPATH=str(rest / "src"))
        assert done.returncode == 0, done.stdout + done.stderr
