"""Print the results of ``plan`` and ``find=…``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
PHASED_COSTS = ("train/seconds", "train/flops", "epoch/seconds", "validation/seconds", "checkpoints/seconds")
# bytes of a GPU with so many GB; CUDA's context and what the allocator cannot use take the rest
USABLE = {size: 0.9e9 * size for size in (24, 40, 80)}

console = Console()


def average_phases(costs: dict[str, dict[str, float]]) -> None:
    """Mix the costs of tunings that end by training all weights with those of ``full``, by each phase's share of the run."""
    for cost in costs.values():
        share = cost.pop("mean_frozen_share")
        if share == 1 or "full" not in costs:
            continue
        full = costs["full"]
        for name in PHASED_COSTS:
            first_phase = cost[name]
            cost[name] = share * first_phase + (1 - share) * full[name]
            if name.endswith("seconds") and not name.startswith("epoch"):
                cost["run/seconds"] += cost[name] - first_phase
        peak = "train/peak_memory_bytes"
        cost[peak] = max(cost[peak], full[peak])


def print_plan(costs: Mapping[str, Mapping[str, float]], *, chosen: str, folder: Path) -> None:
    """Print the costs of each tuning side by side."""
    table = Table("tuning", *costs)
    rows: dict[str, Callable[[Mapping[str, float]], str]] = {
        "trainable parameters": lambda c: f"{c['parameters/trainable'] / 1e6:.2f}M",
        "steps": lambda c: f"{c['train/steps']:,}",
        "tokens": lambda c: f"{c['train/tokens']:,.0f}",
        "padding efficiency": lambda c: f"{c['train/padding_efficiency']:.3f}",
        "FLOPs": lambda c: f"{c['train/flops']:.2e}",
        "peak memory": lambda c: f"{c['train/peak_memory_bytes'] / 1e9:.2f} GB",
        "caching frozen layers": lambda c: duration(c["frozen_once/seconds"]),
        "one epoch": lambda c: duration(c["epoch/seconds"]),
        "training": lambda c: duration(c["train/seconds"]),
        "validation, saving": lambda c: duration(c["validation/seconds"] + c["checkpoints/seconds"]),
        "final evaluation": lambda c: duration(c["evaluation/seconds"]),
        "start to end": lambda c: duration(c["run/seconds"]),
    }
    for name, text in rows.items():
        table.add_row(name, *map(text, costs.values()))
    console.print(table)
    console.print(f"chosen: tuning={chosen}; nothing was trained. plan: {folder / 'plan.json'}", **PLAIN)


def print_memory(needs: Mapping[str, Mapping[str, float]], *, folder: Path) -> None:
    """Print what a device needs for each tuning, by part, and the GPUs that it fits on."""
    table = Table("GB, computed", *needs, box=None, pad_edge=False)
    for part in needs["full"]:
        table.add_row(part, *(f"{parts[part] / 1e9:.2f}" for parts in needs.values()))
    for size, limit in USABLE.items():
        table.add_row(f"fits {size} GB", *("no" if parts["total"] > limit else "yes" for parts in needs.values()))
    console.print(table)
    console.print(f"computed from the configuration, not measured: {folder / 'memory.json'}", **PLAIN)


def print_lr(result: Mapping[str, Any], *, folder: Path, command: str) -> None:
    """Print the suggested learning rate, and the command that trains with it."""
    console.print(
        f"suggested learning rate: {result['suggestion']:.1e}; the loss is lowest at {result['least_at']:.1e}, "
        f"in {len(result['lr'])} steps whose weights were discarded\n"
        f"plot: {folder / 'lr_find.png'}\nnext: {command}",
        **PLAIN,
    )


def print_batch_size(result: Mapping[str, Any], *, command: str) -> None:
    """Print which batch sizes fit, and the command that trains with the largest."""
    for attempt in result["trials"]:
        memory = f"{attempt['memory_bytes'] / 1e9:.2f} GB" if attempt["memory_bytes"] else "out of memory"
        source = "measured" if attempt["measured"] else "estimated, not tried"
        fits = "fits" if attempt["fits"] else "does not fit"
        rows = f"{attempt['rows']:6} rows of {result['longest']} tokens"
        console.print(f"{rows}: {memory} ({source}), {fits}", **PLAIN)
    console.print(
        f"{result['largest']} rows fit into {result['limit_bytes'] / 1e9:.2f} GB; the effective batch size stays "
        f"{result['effective']}\nnext: {command}",
        **PLAIN,
    )


def batch_size_overrides(result: Mapping[str, Any]) -> list[str]:
    """Return the options that use the largest batch; the rows or tokens of an optimizer step do not change."""
    in_tokens, accumulate = result["by_tokens"], result["accumulate"]
    configured = result["tokens"] if in_tokens else result["effective"] // accumulate
    fits = result["largest"] * (result["longest"] if in_tokens else 1)
    effective = configured * accumulate
    size = max(divisor for divisor in range(1, min(fits, effective) + 1) if effective % divisor == 0)
    option = "data.max_tokens_per_batch" if in_tokens else "data.batch_size"
    return [f"{option}={size}", f"trainer.accumulate_grad_batches={effective // size}"]


def duration(seconds: float) -> str:
    """Format ``75`` seconds as ``1 min 15 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
