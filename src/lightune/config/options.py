"""Check options against the type hints and bounds of the arguments that they become."""

import inspect
import json
import pkgutil
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from lightune.common.bounds import Between, Count, Seed, Share
from lightune.common.errors import UserError, did_you_mean, listed, nearest
from lightune.config.arguments import signature_of
from lightune.config.nested import select, target_nodes

FRAME: dict[str, Any] = {
    "any_data": bool,
    "layerwise_lr_decay": Share | None,
    "scheduler_interval": Literal["step", "epoch"],
    "scheduler_monitor": str | None,
    "model.from_run": str | None,
    "plan": bool | Literal["memory"],
    "find": Literal["lr", "batch_size"] | None,
    "profile": bool,
    "report": bool,
    "seed": Seed,
    "resume": str | None,
    "task.head": Callable[..., Any] | None,
    "monitor.metric": str | None,
    "monitor.mode": Literal["min", "max"] | None,
    "trainer.accumulate_grad_batches": Count,
    "trainer.check_val_every_n_epoch": Count | None,
    "trainer.log_every_n_steps": Count,
    "trainer.precision": Any,
}
"""Options that become no argument, or whose hints in Lightning allow too much: it divides by some of them."""

DATA_MODULE = "lightune.data.DataModule"
NOT_FROM_DATA = {"preprocessor", "tokenizer", "seed", "return"}
"""Arguments of the DataModule and the preprocessor that are not options of ``data``."""

REFERENCE = re.compile(r"\$\{([\w.]+)\}")
CONFIG = ConfigDict(arbitrary_types_allowed=True)
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
WORDS |= {Callable: "_target_ with its options"}  # type: ignore[dict-item]


def check_options(raw: dict[str, Any], resolved: dict[str, Any]) -> None:
    """Check the arguments of each ``_target_`` node, and the options of ``data``, against the signatures.

    Args:
        raw: the configuration, interpolations unresolved: messages name the option that sets an argument.
        resolved: the same, resolved.

    Raises:
        UserError: names the option, its value and what was expected, or an argument that its target does not take.
    """
    # the folder of an older run may lack an option
    for option, hint in FRAME.items():
        _check(option, select(resolved, option, default="???"), hint)
    metric, mode = (select(resolved, f"monitor.{name}") for name in ("metric", "mode"))
    if (metric is None) != (mode is None):
        raise UserError(
            f"monitor.metric={metric} monitor.mode={mode}: both are needed, or neither.\n"
            "For example monitor.metric=val/loss monitor.mode=min"
        )
    for name, node in target_nodes(raw):
        _check_node(name, node, raw, resolved)
    data, own = resolved.get("data", {}), raw.get("preprocessor", {})
    for target in readers_of_data(raw):
        parameters = inspect.signature(target).parameters
        for name, hint in signature_of(target)[1].items():
            if name in data:
                _check(f"data.{name}", data[name], hint)
            elif name not in {*own, *NOT_FROM_DATA} and parameters[name].default is inspect.Parameter.empty:
                raise UserError(
                    f"data.{name} is not in the configuration, and a run needs it.\n"
                    f"Leave out what takes it away, such as ~data.{name}. All options: python train.py --help"
                )


def readers_of_data(raw: dict[str, Any]) -> list[Any]:
    """Return the callables whose signatures name options of ``data``: the DataModule and the preprocessors."""
    nodes = ("preprocessor._target_", "decoder_only.preprocessor._target_")
    names = (DATA_MODULE, *(str(select(raw, node)) for node in nodes))
    return [target for target in map(_resolved, names) if target is not None]


def _check_node(where: str, node: dict[str, Any], raw: dict[str, Any], resolved: dict[str, Any]) -> None:
    target = _resolved(str(node["_target_"]))
    if target is None:
        return
    parameters, hints = signature_of(target)
    # a tensor is written as a list
    hints = {name: hint | list[float] if "torch.Tensor" in str(hint) else hint for name, hint in hints.items()}
    foreign = [name for name in node if not name.startswith("_") and name not in (parameters or node)]
    if where in ("optimizer", "scheduler") and foreign and not did_you_mean(foreign[0], parameters or ()):
        raise UserError(
            f"{node['_target_']} takes no {listed(foreign)}. "
            f"Leave out what another class has: {' '.join(f'~{where}.{name}' for name in foreign)}\n"
            f"Or write conf/{where}/NAME.yaml with its own options: {listed(parameters or (), limit=20)}"
        )
    for name, value in node.items():
        if name.startswith("_"):
            continue
        option = _option_behind(f"{where}.{name}", value, raw)
        if parameters is not None and name not in parameters and option not in FRAME:
            raise UserError(f"There is no option {option!r}. {nearest(name, parameters)}")
        value = select(resolved, f"{where}.{name}")
        is_ours = str(node["_target_"]).startswith("lightune.")
        if name in hints and option not in FRAME and (is_ours or value is not None):
            _check(option, value, hints[name])


def _option_behind(option: str, value: Any, raw: dict[str, Any]) -> str:
    """Follow references such as ``${data.batch_size}`` to the option that a person sets."""
    while isinstance(value, str) and (reference := REFERENCE.fullmatch(value)):
        option = reference.group(1)
        value = select(raw, option)
    return option


def _check(option: str, value: Any, hint: Any) -> None:
    is_made = isinstance(value, dict) and "_target_" in value
    if value == "???" or is_made or fits(value, hint):
        return
    written = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)[:200]
    advice = f"Leave {option} out for its default."
    if isinstance(value, bool | int | float | str):
        if fits([value], hint):
            advice = f"One of them is a list too: '{option}=[{written}]'"
        elif fits(str(value), hint):
            advice = f"Text that looks like something else needs quotes of its own: \"{option}='{written}'\""
    raise UserError(f"{option}={written}: expected {described(hint)}.\n{advice}")


def fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value, as YAML has them, fits a type hint.

    It is validated as JSON: a list may become a tuple, and a whole number a float; nothing else is converted.
    """
    try:
        TypeAdapter(hint, config=CONFIG).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    except PydanticSchemaGenerationError:
        return True
    return True


def described(hint: Any) -> str:
    """Describe a type in words, without what cannot be written in a configuration."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return " ".join([described(inner[0]), *(str(bounds) for bounds in inner[1:] if isinstance(bounds, Between))])
    if origin in (Union, types.UnionType):
        words = dict.fromkeys(filter(None, map(described, inner)))
        return " or ".join(word for word in words if word != "a whole number" or "a number" not in words)
    if origin is Literal:
        return " or ".join(str(value) for value in inner)
    kind = origin or hint
    if not isinstance(kind, type):
        return "something else"
    if issubclass(kind, Mapping):
        return "names with values"
    if kind is not str and issubclass(kind, (Sequence, tuple)):
        items = ", ".join("…" if item is ... else described(item) for item in inner)
        return f"a list [{items}{', …' * (len(inner) == 1)}]"
    return WORDS.get(kind, "")


def _resolved(target: str) -> Any:
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError):
        # instantiating it will say so
        return None
