"""Packages of one's own: code that a configuration may call, and YAML that joins the shipped."""

import os
import sys
import tomllib
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from lightune.common.errors import UserError, nearest
from lightune.config.nested import select

PROJECT = "LIGHTUNE_PROJECT"
"""Names the project's folder, empty for none; without it, the nearest from the current directory upwards is the project."""


def project() -> Path | None:
    """Return the folder whose ``pyproject.toml`` has ``[tool.lightune]``; never one of a run, which may have been sent.

    Raises:
        UserError: the file cannot be read, or the variable names a folder without one.
    """
    named = os.environ.get(PROJECT)
    places = [Path.cwd(), *Path.cwd().parents] if named is None else [Path(one).absolute() for one in [named] if one]
    found = next((one for one in places if not _is_in_a_run(one) and _packages(one) is not None), None)
    if named and found is None:
        raise UserError(f"{PROJECT}={named}: {places[0]} has no pyproject.toml with [tool.lightune], or is of a run.")
    return found


def own_packages() -> list[str]:
    """Return the packages that the project and installed distributions name; make the project's importable."""
    names = []
    if folder := project():
        names = _packages(folder) or []
        source = str(folder / "src" if (folder / "src").is_dir() else folder)
        # last: what is installed keeps its name
        sys.path += [source] if source not in sys.path else []
    return [*names, *(entry.module for entry in entry_points(group="lightune"))]


def conf_folders() -> list[Path]:
    """Return the folders of YAML of one's own: in a package, or beside the ``pyproject.toml`` where it is developed."""
    found = [folder / "conf"] if (folder := project()) else []
    for top, *inner in (name.split(".") for name in own_packages()):
        for place in map(Path, getattr(find_spec(top), "submodule_search_locations", None) or ()):
            root = place.parents[place.parent.name == "src"]
            found += [place.joinpath(*inner, "conf"), *([root / "conf"] if (root / "pyproject.toml").is_file() else [])]
    return [*dict.fromkeys(one.resolve() for one in found if one.is_dir())]


def is_within(name: str, packages: Iterable[str]) -> bool:
    """Return whether a full name is that of a package, or of something in it."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def is_own(target: str, packages: list[str]) -> bool:
    """Return whether a full name lies in one of these packages.

    Raises:
        UserError: it does, but no such thing is defined there, though a module may import it.
    """
    module, _, name = target.rpartition(".")
    if not is_within(module, packages):
        return False
    try:
        found = import_module(module)
    except ImportError as error:
        raise UserError(
            f"{error}.\nLooked in {f'{project()} and ' if project() else ''}the packages of {sys.prefix}.\n"
            f"If it is elsewhere, install the package that holds it: pip install -e {project() or 'FOLDER'}"
        ) from error
    own = [one for one in dir(found) if is_within(str(getattr(getattr(found, one), "__module__", "")), packages)]
    if name not in own:
        raise UserError(f"{found.__file__} does not define it. {nearest(name, own) if own else ''}")
    return True


def _is_in_a_run(folder: Path) -> bool:
    return any((one / ".hydra").is_dir() or (one / "multirun.yaml").is_file() for one in (folder, *folder.parents))


def _packages(folder: Path) -> list[str] | None:
    file = folder / "pyproject.toml"
    try:
        table = select(tomllib.loads(file.read_text(encoding="utf-8")), "tool.lightune")
    except OSError:
        return None
    except ValueError as error:
        raise UserError(f"{file} cannot be read: {error}.") from error
    if table is None:
        return None
    names = table.get("packages") if isinstance(table, dict) else None
    if not isinstance(names, list) or not all(str(name).replace(".", "_").isidentifier() for name in names):
        raise UserError(
            f'{file}: [tool.lightune] is {table}. Expected packages = ["acme_reviews", …], names to import.'
        )
    return names
