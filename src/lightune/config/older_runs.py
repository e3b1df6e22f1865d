"""Read configurations that were saved before a class moved or an option went."""

import re
from typing import Any

MOVED = {
    "finetune.adapters.": "lightune.tuning.lora.",
    "finetune.callbacks.FrozenOnce": "lightune.training.callbacks.CacheFrozenLayers",
    "finetune.callbacks.Pruning": "lightune.sweeps.pruning.Pruning",
    "finetune.callbacks.Trouble": "lightune.training.callbacks.FailFast",
    "finetune.callbacks.": "lightune.training.callbacks.",
    "finetune.data.": "lightune.data.",
    "finetune.distill.": "lightune.runs.teacher.",
    "finetune.optim.": "lightune.tuning.optimizer_and_schedule.",
    "finetune.phases.": "lightune.tuning.unfreezing.",
    "finetune.pretrained.": "lightune.models.pretrained.",
    "finetune.sharding.": "lightune.models.sharding.",
    "finetune.sweeps.": "lightune.sweeps.",
    "finetune.tasks.": "lightune.tasks.",
    "finetune.tuning.": "lightune.tuning.freezing.",
}
"""How a target's name began, and how it begins now."""

OLD_TARGET = re.compile("|".join(map(re.escape, MOVED)))
REWRITTEN = {"${learning_rates.${task_name}}": "${oc.select:learning_rates.${task_name},2e-4}"}
"""Values that used to be written in another way."""

MIRRORED = {"task": ("tuning", "optimizer", "scheduler")}
"""Options that used to repeat others."""


def renamed(text: str) -> str:
    """Return a target's name, or an override that holds one, with today's name."""
    return OLD_TARGET.sub(lambda old: MOVED[old[0]], text)


def upgraded(cfg: dict[str, Any]) -> dict[str, Any]:
    """Return a saved configuration, interpolations unresolved, as it would be saved today."""
    new: dict[str, Any] = _with_new_targets(cfg)
    if "datamodule" not in new:
        return new
    del new["datamodule"]
    for node, options in MIRRORED.items():
        new[node] = {name: value for name, value in new[node].items() if name not in options}
    new["preprocessor"] = {name: value for name, value in new["preprocessor"].items() if value != f"${{data.{name}}}"}
    return new


def _with_new_targets(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: renamed(value) if key == "_target_" else _with_new_targets(value) for key, value in node.items()}
    if isinstance(node, list):
        return [*map(_with_new_targets, node)]
    return REWRITTEN.get(node, node) if isinstance(node, str) else node
