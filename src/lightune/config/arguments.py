"""Which options of a group a callable takes: its signature says so, nothing repeats it."""

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints


def signature_of(target: Any) -> tuple[list[str] | None, dict[str, Any]]:
    """Return the names of all parameters, None where any name may be given, and their types as far as they are known."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None, {}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    try:
        hints = get_type_hints(
            inspect.getattr_static(target, "__init__") if isinstance(target, type) else target,
            include_extras=True,
        )
    except (NameError, TypeError):  # a name that is there for type checkers only
        hints = {}
    typed = {name: hint for name, hint in hints.items() if name in parameters}
    return None if takes_any else list(parameters), typed


def named_by(target: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that the target's signature names."""
    names = inspect.signature(target).parameters
    return {name: value for name, value in options.items() if name in names}
