"""Packages that only some choices need."""

from importlib.util import find_spec

from lightune.common.errors import UserError


def check_installed(*packages: str, extra: str, needed_by: str) -> None:
    """Raise a UserError where some of the packages are missing; ``extra`` is what pip installs them with."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise UserError(
            f"{needed_by} needs {', '.join(missing)}, which this environment lacks.\n"
            f"Install {'it' if len(missing) == 1 else 'them'}: pip install -e '.[{extra}]'"
        )
