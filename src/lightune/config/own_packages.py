"""Packages of one's own: code that a configuration may call, and YAML that joins the shipped."""

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from lightune.common.errors import UserError, nearest
from lightune.config.nested import select

PROJECT = "LIGHTUNE_PROJECT"
"""Names the folder of the project; empty: none."""

GROUP = "lightune"
"""The group of entry points by which an installed package registers itself."""

NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@contextmanager
def project_from_here() -> Iterator[None]:
    """Decide by the current directory which project is used, for this process and for those that it starts.

    A run may say in which directory it goes on, and so must not decide it.

    Raises:
        UserError: the project's ``pyproject.toml`` cannot be read.
    """
    before, project = os.environ.get(PROJECT), _project()
    os.environ[PROJECT] = str(project or "")
    try:
        yield
    finally:
        os.environ.pop(PROJECT)
        if before is not None:
            os.environ[PROJECT] = before


def own_packages() -> list[str]:
    """Return the names of the packages that the project and installed distributions name; make them importable.

    Raises:
        UserError: the project's ``pyproject.toml`` cannot be read.
    """
    names = []
    if project := _project():
        source = str(_source(project))
        if source not in sys.path:
            # last: what is installed keeps its name
            sys.path.append(source)
        names = _packages(project / "pyproject.toml") or []
    return [*names, *(entry.module for entry in entry_points(group=GROUP))]


def conf_folders() -> list[Path]:
    """Return the folders of YAML that belong to packages of one's own: the project's first.

    A package holds its ``conf/`` itself, or beside the ``pyproject.toml`` of the folder that it is developed in.
    """
    found = [project / "conf"] if (project := _project()) else []
    for name in own_packages():
        spec = None
        with suppress(ImportError, ValueError):
            spec = find_spec(name)
        for place in map(Path, spec.submodule_search_locations or () if spec else ()):
            root = place.parents[name.count(".")]
            root = root.parent if root.name == "src" else root
            found += [place / "conf", *([root / "conf"] if (root / "pyproject.toml").is_file() else [])]
    return [*dict.fromkeys(folder.resolve() for folder in found if folder.is_dir())]


def is_within(name: str, packages: list[str]) -> bool:
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
        project = _project()
        raise UserError(
            f"{error}.\n"
            f"Looked in {f'{_source(project)} and ' if project else ''}the packages of {sys.prefix}.\n"
            f"If it is elsewhere, install the package that holds it: pip install -e {project or 'FOLDER'}"
        ) from error
    own = [one for one in dir(found) if is_within(str(getattr(getattr(found, one), "__module__", "")), packages)]
    if name not in own:
        raise UserError(
            f"{module} does not define it.{f' {nearest(name, own)}' if own else ''}\nLooked in {found.__file__}"
        )
    return True


def _project() -> Path | None:
    """Return the folder that the variable names, or the nearest from here upwards whose ``pyproject.toml`` names packages."""
    given = os.environ.get(PROJECT)
    if given is None:
        here = Path.cwd()
        folders = (folder for folder in (here, *here.parents) if not _is_in_a_run(folder))
        return next((folder for folder in folders if _packages(folder / "pyproject.toml") is not None), None)
    project = Path(given).expanduser().absolute()
    if given and _packages(project / "pyproject.toml") is None:
        raise UserError(f"{PROJECT}={given}: there is no pyproject.toml with [tool.lightune] in {project}.")
    return project if given else None


def _is_in_a_run(folder: Path) -> bool:
    """Return whether a run or a sweep wrote this folder or one that holds it: what it names, somebody may have sent."""
    return any((one / ".hydra").is_dir() or (one / "multirun.yaml").is_file() for one in (folder, *folder.parents))


def _source(project: Path) -> Path:
    return project / "src" if (project / "src").is_dir() else project


def _packages(pyproject: Path) -> list[str] | None:
    """Return the packages that a ``pyproject.toml`` names; None where it has no such table, or there is no such file."""
    try:
        table = select(tomllib.loads(pyproject.read_text(encoding="utf-8")), "tool.lightune")
    except OSError:
        return None
    except ValueError as error:
        raise UserError(f"{pyproject} cannot be read: {error}.") from error
    if table is None:
        return None
    names = table.get("packages", []) if isinstance(table, dict) and {*table} <= {"packages"} else None
    if not isinstance(names, list) or not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        raise UserError(
            f"{pyproject}: [tool.lightune] is {table}. Expected the names of packages, as Python imports them:\n"
            '[tool.lightune]\npackages = ["acme_reviews"]'
        )
    return names
