"""The runs that a command line names."""

from collections.abc import Iterable
from pathlib import Path

from lightune.config.restart import is_sweep
from lightune.sweeps.leaderboard import best_runs


def runs_of(folders: Iterable[Path]) -> list[Path]:
    """Return the folders of runs; a sweep's stands for the finished trials of its best group."""
    return [run for folder in folders for run in (best_runs(folder) if is_sweep(folder) else [folder])]
