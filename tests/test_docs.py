"""README and docs: commands compose, options and files exist, links resolve, each figure stands once."""

import argparse
import re
import shlex
import tomllib
from functools import cache
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from markdown.extensions.toc import slugify
from omegaconf import OmegaConf

from lightune.commands import cli

DOCS = ROOT / "docs"
README, CHINESE, RESULTS = ROOT / "README.md", ROOT / "README.zh-CN.md", DOCS / "results.md"
OPTIONS, MODELS_AND_DATA = DOCS / "reference/options.md", DOCS / "reference/models-and-data.md"
OTHER_PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [README, CHINESE, *OTHER_PAGES]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROSE = {page: BLOCK.sub("", text) for page, text in TEXTS.items()}
CODE = [code for prose in PROSE.values() for code in re.findall(r"`([^`\n]+)`", prose)]
OTHERS = (
    "git clone ",
    "source .venv/bin/activate",
    "curl ",
    ".venv/bin/",
    "python3 -m venv ",
    "cd acme_reviews && make ",
    "#",
)
GROUPS = {
    "data", "model", "task", "tuning", "trainer", "optimizer", "scheduler", "callbacks", "logger", "sweep", "distill", "monitor",
}  # fmt: skip
"""Groups whose options a user may set."""


def blocks(page: Path, language: str) -> list[str]:
    return [block for name, block in BLOCK.findall(TEXTS[page]) if name == language]


def commands() -> list[str]:
    scripts = [block.replace("\\\n", " ") for page in PAGES for block in blocks(page, "bash")]
    lines = [line.strip() for script in scripts for line in script.splitlines() if line.strip()]
    inline = [code for code in CODE if re.match(r"(python (train|benchmarks/\w+)\.py|lightune|make)( |$)", code)]
    variables = re.compile(r"^(?:[A-Z_]+=\S+ )+")  # before a command, left out
    return list(dict.fromkeys(variables.sub("", line) for line in [*lines, *inline] if line != "lightune"))


COMMANDS = commands()
TRAINED = [command for command in COMMANDS if "train.py" in command and not command.startswith("#")]


def subcommands() -> dict[str, argparse.ArgumentParser]:
    (found,) = [a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found.choices)


def first_of(override: Override) -> str:
    if not override.is_sweep_override():
        return override.input_line
    value = override.value()
    first = value.start if isinstance(value, IntervalSweep) else next(override.sweep_string_iterator())
    return f"{override.get_key_element()}={first}"


@pytest.mark.parametrize("command", TRAINED)
def test_training_commands_compose(command: str):
    launcher, _, options = command.partition("train.py")
    assert re.fullmatch(r"(srun )?python |torchrun (--[a-z-]+ \S+ )+", re.sub(r" +", " ", launcher))
    overrides = [word for word in shlex.split(options) if word not in ("-m", "--help", "--cfg", "job")]
    if " -m " in command:  # the first job of the sweep
        overrides = [first_of(one) for one in OverridesParser.create().parse_overrides(overrides)]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        assert compose("train", overrides).model.pretrained_model_name_or_path


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("lightune ")])
def test_lightune_commands_are_understood(command: str):
    words = shlex.split(command)[1:]
    assert words[0] in subcommands() if len(words) == 1 else cli._parser().parse_args(words).command


def test_other_commands_exist():
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in COMMANDS:
        words = shlex.split(command, comments=True)
        if command.startswith("make "):
            for target in [word for word in words[1:] if "=" not in word]:
                assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), command
        elif command.startswith("python benchmarks/"):
            assert (ROOT / words[1]).is_file(), command
        elif command.startswith("pip install "):
            assert re.fullmatch(r"pip install -e '\.\[(\w+)\]'", command)[1] in extras  # type: ignore[index]
        else:
            assert command in TRAINED or command.startswith(("lightune ", *OTHERS)), command


@cache
def choices() -> dict[str, set[str]]:
    files = [file.relative_to(ROOT / "conf") for file in (ROOT / "conf").rglob("*.yaml")]
    found: dict[str, set[str]] = {}
    for file in files:
        found.setdefault(file.parent.as_posix(), set()).add(file.stem)
    return found


@cache
def options() -> set[str]:
    """The dotted name of every option, whatever is chosen."""
    found: set[str] = set()

    def add(node: Any, name: str) -> None:
        found.add(name)
        for key, value in node.items() if isinstance(node, dict) else ():
            add(value, f"{name}.{key}".lstrip("."))

    groups = {group: sorted(names) for group, names in choices().items() if group != "."}
    # each choice of every group once, all groups at a time: composing takes a tenth of a second
    for names in zip_longest(*groups.values()):
        chosen = [f"{group}={name}" for group, name in zip(groups, names, strict=True) if name]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("train", chosen, return_hydra_config=True)
        add(OmegaConf.to_container(cfg, resolve=False), "")
    return found


def test_options_exist():
    for code in CODE:
        if code.startswith("LIGHTUNE_") or " " in code.partition("=")[0]:
            continue  # a command or an expression
        for word in code.split(" "):
            option, equals, value = word.strip("'\"").partition("=")
            if option.startswith("~"):
                assert option[1:] in options() | {"OPTION"}, code
            elif equals and option in choices():
                known = choices()[option] | {"NAME", ""}
                assert set(value.split(",")) <= known, code
            elif equals and re.fullmatch(r"[a-z_.]+", option):
                assert option in options(), code
            elif not equals and re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", option) and option != "trainer.fit":
                assert option.partition(".")[0] not in GROUPS or option in options(), code


def test_every_option_and_choice_is_described():
    described = TEXTS[OPTIONS]
    for option in options():
        group, *names = option.split(".")
        if group in GROUPS - {"logger"} and names and not names[0].startswith("_"):
            assert re.search(rf"`{group}\.{names[0]}[`.]", described), option
    for group, names in choices().items():
        text = TEXTS[MODELS_AND_DATA] if group in ("model", "data") else described
        for name in names if group not in (".", "experiment", "optimizer", "callbacks") else ():
            assert re.search(rf"`{group}={name}`|`{name}`", text), f"{group}={name}"


def test_every_command_line_option_is_described():
    text = TEXTS[DOCS / "reference/command-line.md"]
    for name, parser in subcommands().items():
        row = next(
            line for line in text.splitlines() if line.startswith((f"| `lightune {name} ", f"| `lightune {name}`"))
        )
        for action in parser._actions:
            for option in set(action.option_strings) - {"-h", "--help"}:
                assert option in row, f"lightune {name} {option}"
    for target in re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE):
        assert f"`make {target}`" in text, target


def test_environment_variables_are_described():
    sources = [*(ROOT / "src").rglob("*.py"), ROOT / "train.py"]
    used = {name for file in sources for name in re.findall(r"\bLIGHTUNE_[A-Z_]*[A-Z]\b", file.read_text())}
    described = set(re.findall(r"^\| `(LIGHTUNE_\w*\w)", TEXTS[DOCS / "reference/environment.md"], re.MULTILINE))
    assert {name.replace("LIGHTUNE_SECRET_OPTION", "LIGHTUNE_SECRET_") for name in used} == described


def test_rooms_are_the_packages():
    rooms = {folder.name for folder in (ROOT / "src/lightune").iterdir() if (folder / "__init__.py").is_file()}
    for page in (README, CHINESE):
        assert set(re.findall(r"^\| `(\w+)` \|", TEXTS[page], re.MULTILINE)) == rooms
    api = {page.stem: TEXTS[page] for page in PAGES if page.parent.name == "api" and page.stem != "index"}
    assert api.keys() == rooms
    for text in api.values():
        assert all(find_spec(name) for name in re.findall(r"^::: (\S+)", text, re.MULTILINE))


def test_files_they_name_exist():
    for code in CODE:
        if re.fullmatch(r"(src|conf|tests|benchmarks|notebooks|docs)/[\w./-]*", code):
            assert re.search(r"NAME|GROUP", code) or (ROOT / code).exists(), code


def anchors(page: Path) -> set[str]:
    return {slugify(heading.replace("`", ""), "-") for heading in re.findall(r"^#+ (.+)", PROSE[page], re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", PROSE[page]):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert ROOT in linked.parents and linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_readme_is_short():
    assert len(TEXTS[README].split()) <= 900
    assert len(TEXTS[CHINESE].split()) <= 900


def table(page: Path, heading: str) -> list[list[str]]:
    section = TEXTS[page].partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if "---" not in row]


def test_speed_is_that_of_the_results():
    _, *rows = table(RESULTS, "Training speed")
    measured = {(tokens, arm): speed for tokens, arm, speed, *_ in rows}
    (_, *arms), *lines = table(README, "Speed")
    shown = {(tokens, arm): speed for tokens, *row in lines for arm, speed in zip(arms, row, strict=True)}
    assert shown == measured
    assert table(CHINESE, "速度")[1:] == lines
    drawn = re.findall(r">(\d+\.\d)</text>", (ROOT / "benchmarks/speed.svg").read_text())
    assert sorted(drawn) == sorted(measured.values())


def test_output_shown_is_in_the_docs():
    documented = {line for page in PAGES if DOCS in page.parents for line in TEXTS[page].splitlines()}
    for page in (README, CHINESE):
        for block in blocks(page, ""):
            assert set(block.splitlines()) <= documented
    figures = re.compile(r"\d[\d,]*\.?\d*M?")
    assert set(figures.findall(TEXTS[CHINESE])) <= set(figures.findall(TEXTS[README]))


def test_figures_stand_once():
    results = set(re.findall(r"\d\.\d{3,}", TEXTS[RESULTS]))
    for page in set(PAGES) - {RESULTS}:
        assert not results & set(re.findall(r"\d\.\d{3,}", PROSE[page])), page
    figures = re.compile(r"\d+\.\d+|\d[\d,]* s\b")
    for recipe in (ROOT / "conf/experiment").glob("*.yaml"):
        comments = "\n".join(line for line in recipe.read_text().splitlines() if line.startswith("#"))
        assert set(figures.findall(comments)) <= set(figures.findall(TEXTS[RESULTS])), recipe.name
