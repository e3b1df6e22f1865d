"""Rank the trials of a sweep over their seeds and splits, from the trials' folders alone."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from lightune.common.errors import UserError
from lightune.common.files import atomic_file, refuse_archive
from lightune.config.rerun import option_of, repeated, settings_and_command
from lightune.config.restart import is_sweep
from lightune.sweeps.trial import Trial, read_trials

# Beginnings of overrides that belong to the sweep, not to a run.
SWEEP_OVERRIDES = ("sweep=", "+sweep=", "sweep.", "+sweep.", "resume=", "hydra.")

SPLIT_OPTIONS = ("data.split_seed", "data.fold")
"""Which rows are held out: trials that differ in it are not ranked against each other."""

REPETITIONS = ("seed", *SPLIT_OPTIONS)
"""The options that trials of one group may differ in."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A metric over seeds and splits: mean, sample standard deviation (None for a single run) and number of runs."""

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.std is None else f" ± {self.std:.4f}")


@dataclass(frozen=True, kw_only=True)
class TrialGroup:
    """Finished trials that differ at most in their seed and their split, in the order of their numbers.

    ``values`` are those of the swept options. ``val`` is the monitored metric; ``test``, the same on the test split,
    does not affect the ranking, and is None where it was not measured.
    """

    values: dict[str, str]
    trials: tuple[Trial, ...]
    val: Summary
    test: Summary | None

    @property
    def splits(self) -> set[tuple[str, ...]]:
        """The values of ``SPLIT_OPTIONS`` that were measured."""
        return {tuple(values_of(trial, SPLIT_OPTIONS).values()) for trial in self.trials}

    @property
    def is_folded(self) -> bool:
        """Whether its trials held out several folds."""
        return len({fold for _, fold in self.splits}) > 1


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """The ranked trials of a sweep, the best group first, by validation; ``options`` are those swept, but for ``REPETITIONS``.

    Groups that lack a split of others stand below. ``unranked`` trials have no result to compare: failed, killed,
    pruned, waiting.
    """

    sweep_dir: Path
    metric: str
    mode: str
    options: tuple[str, ...]
    groups: tuple[TrialGroup, ...]
    unranked: tuple[Trial, ...]

    @property
    def test_metric(self) -> str:
        """The monitored metric's name on the test split."""
        return self.metric.replace("val/", "test/", 1)

    @property
    def best(self) -> Trial | None:
        """The best trial of the best group; the first where it has several splits, one of which may be easier."""
        if not self.groups:
            return None
        if len(self.groups[0].splits) > 1:
            return self.groups[0].trials[0]
        return min(self.groups[0].trials, key=lambda trial: _rank_key(trial.value or 0.0, self.mode))

    @property
    def command(self) -> str | None:
        """The command that repeats the best trial; without folds where it is one of several, so that all rows are used."""
        if self.best is None:
            return None
        overrides = _run_overrides(self.best)
        if self.groups[0].is_folded:
            overrides = [one for one in overrides if option_of(one) not in ("data.num_folds", "data.fold")]
        return repeated(self.best.folder, overrides)


def read_leaderboard(sweep_dir: Path) -> Leaderboard:
    """Read a sweep's folder; raise a UserError if it holds no trials, or one of its files cannot be read."""
    refuse_archive(sweep_dir)
    trials = read_trials(sweep_dir) if is_sweep(sweep_dir) else []
    if not trials:
        raise UserError(
            f"{sweep_dir} is not the folder of a sweep: it holds no trials.\n"
            "Name a folder such as multirun/2026-01-31_12-00-00-000000, as printed when a sweep ends."
        )
    known = [(trial.metric, trial.mode) for trial in trials if trial.metric and trial.mode]
    metric, mode = known[0] if known else ("val", "max")
    options = tuple(dict.fromkeys(option for trial in trials for option in trial.swept if option not in REPETITIONS))
    by_overrides: dict[tuple[str, ...], list[Trial]] = defaultdict(list)
    unranked = []
    for trial in trials:
        if trial.state == "finished" and trial.value is not None and math.isfinite(trial.value):
            key = tuple(sorted(one for one in _run_overrides(trial) if option_of(one) not in REPETITIONS))
            by_overrides[key].append(trial)
        else:
            unranked.append(trial)
    groups = [_group(trials, metric=metric, options=options) for trials in by_overrides.values()]
    splits = {split for group in groups for split in group.splits}
    return Leaderboard(
        sweep_dir=sweep_dir,
        metric=metric,
        mode=mode,
        options=options,
        groups=tuple(sorted(groups, key=lambda group: (group.splits != splits, _rank_key(group.val.mean, mode)))),
        unranked=tuple(unranked),
    )


def best_runs(sweep_dir: Path) -> list[Path]:
    """Return the folders of the best group's trials, or raise a UserError where none has finished."""
    groups = read_leaderboard(sweep_dir).groups
    if not groups:
        raise UserError(f"No trial of the sweep {sweep_dir} has finished.\nGo on with it: lightune resume {sweep_dir}")
    return [trial.folder for trial in groups[0].trials]


def write_out_of_fold(board: Leaderboard) -> Path | None:
    """Write the rows of the best setting's folds into the sweep's folder, each row of the data once.

    A line is one of a fold's ``validation_predictions.jsonl``, with its ``fold``. Of several seeds it is the first
    whose folds are all finished. Where there is none, nor a prediction, there is no file: None.
    """
    path = board.sweep_dir / "out_of_fold.jsonl"
    by_seed: dict[tuple[object, ...], dict[int, Path]] = defaultdict(dict)
    for trial in board.groups[0].trials if board.groups and board.groups[0].is_folded else ():
        settings, _ = settings_and_command(trial.folder)
        file = trial.folder / "validation_predictions.jsonl"
        if file.is_file():
            found = by_seed[settings["seed"], settings.get("data.split_seed")]
            found[settings["data.fold"]] = file
            if len(found) == settings["data.num_folds"]:
                with atomic_file(path) as out:
                    for fold, file in sorted(found.items()):
                        for line in file.read_text(encoding="utf-8").splitlines():
                            out.write(json.dumps(json.loads(line) | {"fold": fold}, ensure_ascii=False) + "\n")
                return path
    if path.is_file():
        # of a setting that was the best before
        path.unlink()
    return None


def values_of(trial: Trial, options: Sequence[str]) -> dict[str, str]:
    """Return a trial's values of these options, empty where it has none."""
    values = dict(override.partition("=")[::2] for override in trial.overrides)
    return {option: values.get(option, "") for option in options}


def shortened(value: str) -> str:
    """Return a number with many digits, as a search draws them, with four; the command and the CSV have all digits."""
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value


def _group(trials: list[Trial], *, metric: str, options: Sequence[str]) -> TrialGroup:
    test_metric = metric.replace("val/", "test/", 1)
    test = [value for trial in trials if (value := _read_metric(trial, test_metric)) is not None]
    return TrialGroup(
        values=values_of(trials[0], options),
        trials=tuple(trials),
        val=_summary([trial.value for trial in trials if trial.value is not None]),
        test=_summary(test) if len(test) == len(trials) and test_metric != metric else None,
    )


def _read_metric(trial: Trial, name: str) -> float | None:
    file = trial.folder / "metrics.json"
    try:
        value = json.loads(file.read_text(encoding="utf-8")).get(name)
        return None if value is None else float(value)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {error!r}") from error


def _summary(values: list[float]) -> Summary:
    return Summary(mean=mean(values), std=stdev(values) if len(values) > 1 else None, n=len(values))


def _rank_key(value: float, mode: str) -> float:
    return -value if mode == "max" else value


def _run_overrides(trial: Trial) -> list[str]:
    return [override for override in trial.overrides if not override.startswith(SWEEP_OVERRIDES)]
