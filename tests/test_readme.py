"""The README's commands: each composes, or is one that the Makefile or the command line has."""

import re
import shlex

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from lightune.commands import cli

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
LINES = [line for block in BLOCKS for line in block.strip().splitlines()]
COMMANDS = [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line) for line in LINES]  # variables before a command left out


def first_of(override: Override) -> str:
    if not override.is_sweep_override():
        return override.input_line
    value = override.value()
    first = value.start if isinstance(value, IntervalSweep) else next(override.sweep_string_iterator())
    return f"{override.get_key_element()}={first}"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python train.py")])
def test_training_commands_compose(command: str):
    overrides = [word for word in shlex.split(command)[2:] if word != "-m"]
    if " -m " in command:  # the first job of the sweep
        overrides = [first_of(one) for one in OverridesParser.create().parse_overrides(overrides)]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        assert compose("train", overrides).model.pretrained_model_name_or_path


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("lightune ")])
def test_lightune_commands_are_understood(command: str):
    assert cli._parser().parse_args([w for w in shlex.split(command)[1:] if w != "outputs/*"]).command


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z]+)`?", README))))
def test_make_targets_exist(target: str):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_every_model_and_data_set_is_named():
    for group in ("model", "data"):
        for file in (ROOT / "conf" / group).glob("*.yaml"):
            assert re.search(rf"`{group}=[^`]*\b{file.stem}\b", README), f"{group}={file.stem}"


def test_files_it_names_exist():
    for name in (
        "train.py",
        "CONTRIBUTING.md",
        "src/lightune/models/pretrained.py",
        "src/lightune/tuning/fixed.py",
    ):
        assert (ROOT / name).is_file()
