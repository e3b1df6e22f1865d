"""What an option may be: the type, and the bounds, of the argument that it becomes, held against it before it is used."""

import json
import pkgutil
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from lightune.common.bounds import Between, Count, Seed, Share
from lightune.common.errors import UserError, nearest
from lightune.config.arguments import signature_of
from lightune.config.flat import flat

FRAME: dict[str, Any] = {
    "any_data": bool,
    "layerwise_lr_decay": Share | None,
    "model.from_run": str | None,
    "plan": bool,
    "find": Literal["lr", "batch_size"] | None,
    "profile": bool,
    "report": bool,
    "seed": Seed,
    "resume": str | None,
    "monitor.metric": str | None,
    "monitor.mode": Literal["min", "max"] | None,
    "trainer.accumulate_grad_batches": Count,
    "trainer.check_val_every_n_epoch": Count | None,
    "trainer.log_every_n_steps": Count,
    "trainer.precision": Any,
}
"""Options that are nobody's argument, or of which Lightning's types say less than it needs: it divides by some of them."""

DATA_MODULE = "lightune.data.DataModule"
NOT_OPTIONS = {"preprocessor", "tokenizer", "seed"}
"""What the readers of ``data`` are given besides."""

REFERENCES = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)")
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
CONFIG = ConfigDict(arbitrary_types_allowed=True)
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
        parameters, hints = signature_of(target)
        for name, given in arguments.items():
            option = _option(raw, f"{where}.{name}", given)
            if parameters is not None and name not in parameters and option not in FRAME:
                raise UserError(f"There is no option {option!r}. {nearest(name, parameters)}")
            value = _select(resolved, f"{where}.{name}")
            is_ours = str(node["_target_"]).startswith("lightune.")
            if name in hints and option not in FRAME and (is_ours or value is not None):
                _check(option, value, hints[name])
    data, own = resolved.get("data", {}), raw.get("preprocessor", {})
    for target in _readers_of_data(raw):
        for name, hint in signature_of(target)[1].items():
            if name in data:
                _check(f"data.{name}", data[name], hint)
            elif name not in {*own, *NOT_OPTIONS, "return"}:
                raise UserError(
                    f"data.{name} is not in the configuration, and a run needs it.\n"
                    f"Leave out what takes it away, such as ~data.{name}. All options: python train.py --help"
                )


def check_unread(raw: dict[str, Any], *, added: Sequence[str]) -> None:
    """Refuse options that nothing reads.

    Args:
        raw: the configuration, interpolations unresolved.
        added: names of the options that the command line adds with ``+``.

    Raises:
        UserError: names the option and those that are like it.
    """
    references = {name for text in _texts(raw) for name in REFERENCES.findall(text)}
    data = raw["data"]
    readers = _readers_of_data(raw)
    read = {name for target in readers for name in signature_of(target)[0] or ()}
    if data.get("task") not in (None, raw["task_name"]):  # such as label_column in further pretraining
        read |= {*data}
    for name in data:
        if name not in {*read, "task"} and not _is_referenced(f"data.{name}", references):
            raise UserError(f"There is no option 'data.{name}'. {nearest(name, sorted(read - NOT_OPTIONS))}")
    for option in added:
        path = option.split(".")
        owners = [_select(raw, ".".join(path[:end])) for end in range(1, len(path) + 1)]
        is_owned = any(_is_made(owner) for owner in owners) or any(_nodes(owners[-1], ""))
        if path[0] == "data" or is_owned or option in FRAME or _is_referenced(option, references):
            continue
        names = sorted({name for name, _ in flat(raw) if name not in added})
        raise UserError(f"Nothing reads the option {option!r}. {nearest(option, names)}")


def _readers_of_data(raw: dict[str, Any]) -> list[Any]:
    """Return what takes its arguments from ``data``."""
    names = (DATA_MODULE, str(_select(raw, "preprocessor._target_")))
    return [target for target in map(_found, names) if target is not None]


def _is_referenced(option: str, references: set[str]) -> bool:
    return any(
        f"{option}.".startswith(f"{name.rstrip('.')}.") or name.startswith(f"{option}.")
        for name in references
    )


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(child)


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
    """Say whether a plain value, as YAML has them, may be given where a type is asked for.

    It is checked as JSON is: a list may stand for a tuple, a whole number for a float, nothing else for another.
    """
    try:
        TypeAdapter(hint, config=CONFIG).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    except PydanticSchemaGenerationError:
        return True
    return True


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


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _is_made(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value
