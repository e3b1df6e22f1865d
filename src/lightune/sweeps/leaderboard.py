"""Who did best: the trials of a sweep by what they were given, over seeds, told by their folders alone."""

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from lightune.common.errors import UserError
from lightune.sweeps.trial import Trial, is_sweep, read_trials

OWN = ("sweep=", "+sweep=", "sweep.", "+sweep.", "resume=", "hydra.")
"""Overrides of the sweep, not of a run."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A metric over seeds: mean, standard deviation of the sample (None for one run), number of runs."""

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.std is None else f" ± {self.std:.4f}")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Finished trials that differ by their seed at most.

    Attributes:
        values: of the options that the sweep varies.
        trials: of the group, by number.
        val: the monitored metric.
        test: the same metric on test, which chooses nothing; None where it is not measured there.
    """

    values: dict[str, str]
    trials: tuple[Trial, ...]
    val: Figure
    test: Figure | None


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """What a sweep has found.

    Attributes:
        sweep: its folder.
        metric: that is monitored; its mode, ``min`` or ``max``.
        options: names of what the sweep varies, but the seed.
        rows: best first, by validation.
        others: trials that have no figure to compare: failed, killed, pruned, waiting.
    """

    sweep: Path
    metric: str
    mode: str
    options: tuple[str, ...]
    rows: tuple[Row, ...]
    others: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The best run of the best group."""
        if not self.rows:
            return None
        return min(self.rows[0].trials, key=lambda trial: _order(trial.value or 0.0, self.mode))

    @property
    def command(self) -> str | None:
        """The command that repeats the best run."""
        if self.best is None:
            return None
        return shlex.join(["python", "train.py", *_of_run(self.best)])


def read_leaderboard(sweep: Path) -> Leaderboard:
    """Read a sweep's folder.

    Raises:
        UserError: it holds no trials, or a file of it cannot be read.
    """
    trials = read_trials(sweep) if is_sweep(sweep) else []
    if not trials:
        raise UserError(
            f"{sweep} is not the folder of a sweep: no trials were planned there.\n"
            "Name a folder such as multirun/2026-01-31_12-00-00-000000, as printed when a sweep ends."
        )
    known = [trial for trial in trials if trial.metric is not None and trial.mode is not None]
    metric, mode = (str(known[0].metric), str(known[0].mode)) if known else ("val", "max")
    options = tuple(dict.fromkeys(one for trial in trials for one in trial.swept if one != "seed"))
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        if trial.state == "finished" and trial.value is not None and math.isfinite(trial.value):
            key = tuple(sorted(one for one in _of_run(trial) if not one.startswith("seed=")))
            groups.setdefault(key, []).append(trial)
    rows = [_row(group, metric=metric, options=options) for group in groups.values()]
    return Leaderboard(
        sweep=sweep,
        metric=metric,
        mode=mode,
        options=options,
        rows=tuple(sorted(rows, key=lambda row: _order(row.val.mean, mode))),
        others=tuple(trial for trial in trials if not any(trial in group for group in groups.values())),
    )


def values_of(trial: Trial, options: Sequence[str]) -> dict[str, str]:
    """Return what a trial was given for these options."""
    given = dict(one.partition("=")[::2] for one in trial.overrides)
    return {option: given.get(option, "") for option in options}


def seed_of(trial: Trial) -> str:
    """Return a trial's seed, as given."""
    return values_of(trial, ["seed"])["seed"]


def shortened(value: str) -> str:
    """Return a number with many digits, as a search draws them, with four; the command and the CSV have all."""
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value


def _row(trials: list[Trial], *, metric: str, options: Sequence[str]) -> Row:
    held_out = metric.replace("val/", "test/", 1)
    measured = [value for trial in trials if (value := _measured(trial, held_out)) is not None]
    return Row(
        values=values_of(trials[0], options),
        trials=tuple(trials),
        val=_figure([trial.value for trial in trials if trial.value is not None]),
        test=_figure(measured) if len(measured) == len(trials) and held_out != metric else None,
    )


def _measured(trial: Trial, name: str) -> float | None:
    file = trial.folder / "metrics.json"
    try:
        value = json.loads(file.read_text(encoding="utf-8")).get(name)
        return None if value is None else float(value)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {error!r}") from error


def _figure(values: list[float]) -> Figure:
    return Figure(mean=mean(values), std=stdev(values) if len(values) > 1 else None, n=len(values))


def _order(value: float, mode: str) -> float:
    return -value if mode == "max" else value


def _of_run(trial: Trial) -> list[str]:
    return [one for one in trial.overrides if not one.startswith(OWN)]
