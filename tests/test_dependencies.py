"""What is installed is what is pinned, and what is pinned has no known hole."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = {
    canonicalize_name(name): Version(number)
    for name, number in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}
FLOORS = {
    "torch": "2.10",  # weights_only loading that cannot be got around
    "transformers": "5.3",  # no pickles of indices, no prompts for code
    "hydra-core": "1.3.6",  # its own list of calls that are never made
}


@pytest.mark.parametrize("name", FLOORS)
def test_floors_hold_for_the_range_and_for_the_pin(name: str):
    required = next(Requirement(line) for line in PROJECT["dependencies"] if Requirement(line).name == name)
    lowest = [Version(one.version) for one in required.specifier if one.operator in (">=", "==", "~=")]
    assert max(lowest) >= Version(FLOORS[name])
    assert PINNED[name] >= Version(FLOORS[name])


def test_the_malicious_uploads_of_lightning_can_never_be_chosen():
    lightning = next(Requirement(line) for line in PROJECT["dependencies"] if Requirement(line).name == "lightning")
    for bad in ("2.6.2", "2.6.3"):
        assert not lightning.specifier.contains(bad)
        assert str(PINNED["lightning"]) != bad
        assert str(PINNED["pytorch-lightning"]) != bad


@pytest.mark.parametrize("group", ["", *PROJECT["optional-dependencies"]])
def test_pins_are_inside_the_ranges(group: str):
    for line in PROJECT["optional-dependencies"][group] if group else PROJECT["dependencies"]:
        required = Requirement(line)
        name = canonicalize_name(required.name)
        if name in PINNED or group not in ("loggers", "ray"):  # of these only what the tests use is pinned
            assert required.specifier.contains(PINNED[name]), line


def test_every_line_of_the_constraints_is_an_exact_version():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert len(PINNED) == len([line for line in lines if line and not line.startswith("#")])


def test_what_is_installed_is_what_is_pinned():
    different = {}
    for name, pinned in PINNED.items():
        try:
            installed = Version(version(name))
        except PackageNotFoundError:  # a tool that this environment was made without
            continue
        if installed.public != pinned.public:  # torch's local part says CPU or CUDA
            different[name] = f"{installed}, pinned {pinned}"
    assert different == {}
