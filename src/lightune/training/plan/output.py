"""What a person reads of a plan, a learning-rate range test or a batch-size finder."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightune.common.files import atomic_file

console = Console()


def write(file: Path, found: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    with atomic_file(file) as opened:
        opened.write(json.dumps(found, indent=2) + "\n")


def mix_phases(costs: dict[str, dict[str, float]]) -> None:
    """Where a tuning thaws while the run goes on, and costs what ``full`` does in the end, take the average of both."""
    for cost in costs.values():
        share = cost.pop("mean_frozen_share")
        if share == 1 or "full" not in costs:
            continue
        full = costs["full"]
        for name in (
            "train/seconds",
            "train/flops",
            "epoch/seconds",
            "validation/seconds",
            "checkpoints/seconds",
        ):
            before = cost[name]
            cost[name] = share * before + (1 - share) * full[name]
            if name.endswith("seconds") and not name.startswith("epoch"):
                cost["run/seconds"] += cost[name] - before
        cost["train/peak_memory_bytes"] = max(
            cost["train/peak_memory_bytes"], full["train/peak_memory_bytes"]
        )


def print_plan(costs: Mapping[str, Mapping[str, float]], *, asked: str, folder: Path) -> None:
    """Print the costs of each tuning side by side."""
    table = Table("tuning", *costs)
    rows: dict[str, Callable[[Mapping[str, float]], str]] = {
        "parameters that move": lambda c: f"{c['parameters/trainable'] / 1e6:.2f}M",
        "steps": lambda c: f"{c['train/steps']:,}",
        "tokens": lambda c: f"{c['train/tokens']:,.0f}",
        "padding efficiency": lambda c: f"{c['train/padding_efficiency']:.3f}",
        "FLOPs": lambda c: f"{c['train/flops']:.2e}",
        "peak memory": lambda c: f"{c['train/peak_memory_bytes'] / 1e9:.2f} GB",
        "frozen layers, once": lambda c: time_of(c["frozen_once/seconds"]),
        "an epoch": lambda c: time_of(c["epoch/seconds"]),
        "training": lambda c: time_of(c["train/seconds"]),
        "validation, saving": lambda c: time_of(c["validation/seconds"] + c["checkpoints/seconds"]),
        "final evaluation": lambda c: time_of(c["evaluation/seconds"]),
        "start to end": lambda c: time_of(c["run/seconds"]),
    }
    for name, told in rows.items():
        table.add_row(name, *[told(cost) for cost in costs.values()])
    console.print(table)
    console.print(f"asked for: tuning={asked}; nothing was trained. plan: {folder / 'plan.json'}", **PLAIN)


def print_lr(found: Mapping[str, Any], *, folder: Path, command: str) -> None:
    """Print the suggestion, and the command to go on with."""
    console.print(
        f"suggested learning rate: {found['suggestion']:.1e}; the loss is least at {found['least_at']:.1e}, "
        f"in {len(found['lr'])} steps of which nothing was kept\n"
        f"plot: {folder / 'lr_find.png'}\nnext: {command}",
        **PLAIN,
    )


def print_batch_size(found: Mapping[str, Any], *, command: str) -> None:
    """Print what fits, and the command to go on with."""
    for trial in found["trials"]:
        memory = f"{trial['memory_bytes'] / 1e9:.2f} GB" if trial["memory_bytes"] else "out of memory"
        how = "measured" if trial["measured"] else "expected, not tried"
        fits = "fits" if trial["fits"] else "does not fit"
        console.print(
            f"{trial['rows']:6} rows of {found['longest']} tokens: {memory} ({how}), {fits}", **PLAIN
        )
    console.print(
        f"{found['largest']} rows fit into {found['limit_bytes'] / 1e9:.2f} GB; an effective batch of {found['effective']} "
        f"is kept\nnext: {command}",
        **PLAIN,
    )


def time_of(seconds: float) -> str:
    """``75`` seconds as ``1 min 15 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
