"""Which options a callable takes: its signature says so, and nothing repeats it."""

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints


def signature_of(target: Any) -> tuple[list[str] | None, dict[str, Any]]:
    """Return the names of a callable's parameters, None if it takes any name, and the type hints that are known."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None, {}
    function = inspect.getattr_static(target, "__init__") if isinstance(target, type) else target
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        # a hint names what only type checkers import
        hints = {}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = {name: hint for name, hint in hints.items() if name in parameters}
    return None if takes_any else list(parameters), known


def named_by(target: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that the callable's signature names, and that it is not yet a ``partial`` with."""
    names = inspect.signature(target).parameters.keys() - getattr(target, "keywords", {}).keys()
    return {name: value for name, value in options.items() if name in names}


def schedule_arguments(factory: Any, optimizer: Any, *, length: int) -> dict[str, Any]:
    """Return how long a schedule is, by any name of torch or transformers, and its peaks, where its YAML does not say it."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    lengths = dict.fromkeys(("num_training_steps", "total_steps", "T_max", "total_iters"), length)
    return named_by(factory, lengths | {"max_lr": peaks})
