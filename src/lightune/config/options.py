"""What an option may be: the type, and the bounds, of the argument that it becomes, held against it before it is used."""

import inspect
import pkgutil
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from lightune.common.bounds import Between, Count, Share
from lightune.common.errors import UserError, nearest

FRAME: dict[str, Any] = {
    "layerwise_lr_decay": Share | None,
    "plan": bool,
    "find": Literal["lr", "batch_size"] | None,
    "profile": bool,
    "resume": str | None,
    "monitor.metric": str | None,
    "monitor.mode": Literal["min", "max"] | None,
    "trainer.accumulate_grad_batches": Count,
    "trainer.check_val_every_n_epoch": Count | None,
    "trainer.log_every_n_steps": Count,
    "trainer.precision": Any,
}
"""Options that are nobody's argument, or of which Lightning's types say less than it needs: it divides by some of them."""

REFERENCE = re.compile(r"\$\{([\w.]+)\}")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def check_options(raw: dict[str, Any], resolved: dict[str, Any]) -> None:
    """Hold the arguments of each ``_target_`` node against its signature.

    Args:
        raw: the configuration, interpolations unresolved: an argument is called by the option that sets it.
        resolved: the same, resolved.

    Raises:
        UserError: names the option, its value and what was expected, or an argument that its target does not take.
    """
    for option, hint in FRAME.items():  # a run's folder may be older than an option
        _check(option, _select(resolved, option, missing="???"), hint)
    metric, mode = (_select(resolved, f"monitor.{name}") for name in ("metric", "mode"))
    if (metric is None) != (mode is None):
        raise UserError(
            f"monitor.metric={metric} monitor.mode={mode}: both are needed, or neither.\n"
            "For example monitor.metric=val/loss monitor.mode=min"
        )
    for where, node in _nodes(raw, ""):
        target = _found(str(node["_target_"]))
        if target is None:
            continue
        arguments = {name: value for name, value in node.items() if not name.startswith("_")}
        parameters, hints = _signature(target)
        for name, given in arguments.items():
            option = _option(raw, f"{where}.{name}", given)
            if parameters is not None and name not in parameters:
                raise UserError(f"There is no option {option!r}. {nearest(name, parameters)}")
            value = _select(resolved, f"{where}.{name}")
            is_ours = str(node["_target_"]).startswith("lightune.")
            if name in hints and option not in FRAME and (is_ours or value is not None):
                _check(option, value, hints[name])


def _check(option: str, value: Any, hint: Any) -> None:
    if value == "???" or _is_made(value) or fits(value, hint):
        return
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)[:200]
    way = f"Leave {option} out for its default."
    if _is_plain(value) and value is not None:
        if fits([value], hint):
            way = f"One of them is a list too: '{option}=[{shown}]'"
        elif fits(str(value), hint):
            way = f"Text that looks like something else needs quotes of its own: \"{option}='{shown}'\""
    raise UserError(f"{option}={shown}: expected {described(hint)}.\n{way}")


def fits(value: Any, hint: Any) -> bool:
    """Say whether a plain value, as YAML has them, may be given where a type is asked for."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        bounds = [one for one in inner[1:] if isinstance(one, Between)]
        return fits(value, inner[0]) and all(one.holds(value) for one in bounds)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is tuple and inner[-1] is not ...:
        return isinstance(value, list) and len(value) == len(inner) and all(map(fits, value, inner))
    kind = origin or hint
    if not isinstance(kind, type):
        return True
    if issubclass(kind, Mapping):
        return isinstance(value, dict)
    if kind is not str and issubclass(kind, (Sequence, tuple)):
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value if inner)
    if kind in (int, float):
        return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    return isinstance(value, kind)


def described(hint: Any) -> str:
    """Say a type in words, without what cannot be written in a configuration."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return " ".join([described(inner[0]), *(str(one) for one in inner[1:] if isinstance(one, Between))])
    if origin in (Union, types.UnionType):
        words = dict.fromkeys(filter(None, map(described, inner)))
        return " or ".join(word for word in words if word != "a whole number" or "a number" not in words)
    if origin is Literal:
        return " or ".join(str(one) for one in inner)
    kind = origin or hint
    if not isinstance(kind, type):
        return "something else"
    if issubclass(kind, Mapping):
        return "names with values"
    if kind is not str and issubclass(kind, (Sequence, tuple)):
        return f"a list [{', '.join('…' if one is ... else described(one) for one in inner)}{', …' * (len(inner) == 1)}]"
    return WORDS.get(kind, "")


def _nodes(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from _nodes(value, f"{where}.{key}" if where else str(key))


def _option(raw: dict[str, Any], option: str, given: Any) -> str:
    """Follow ``${data.batch_size}`` to the option that a person sets."""
    while isinstance(given, str) and (reference := REFERENCE.fullmatch(given)):
        option = reference.group(1)
        given = _select(raw, option)
    return option


def _select(tree: Any, option: str, *, missing: str | None = None) -> Any:
    for key in option.split("."):
        tree = tree.get(key, missing) if isinstance(tree, dict) else missing
    return tree


def _found(target: str) -> Any:
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError):  # instantiating it will say so
        return None


def _signature(target: Any) -> tuple[list[str] | None, dict[str, Any]]:
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


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _is_made(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value
