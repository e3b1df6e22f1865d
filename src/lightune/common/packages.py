"""Packages that only some choices need."""

from importlib.util import find_spec

from lightune.common.errors import UserError


def check_installed(package: str, *, extra: str, needed_by: str) -> None:
    """Raise a UserError where a package is missing; ``extra`` is what pip installs it with."""
    if find_spec(package) is None:
        raise UserError(
            f"{needed_by} needs {package}, which this environment lacks.\nInstall it: pip install -e '.[{extra}]'"
        )
