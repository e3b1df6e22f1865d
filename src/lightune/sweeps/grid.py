"""Plan a sweep over every combination; a sweep that is started again keeps its trials."""

from collections.abc import Callable, Sequence
from difflib import ndiff
from pathlib import Path

from lightune.common.errors import UserError, listed
from lightune.sweeps.trial import Trial, is_trial, read_trials


def plan_grid(
    jobs: Sequence[list[str]], *, sweep_dir: Path, swept: list[str], subdir: Callable[[int, list[str]], str]
) -> list[Trial]:
    """Return a trial for each job, a list of overrides: the one that exists, or a new one with the next number.

    ``swept`` are the options that vary; ``subdir`` names a trial's folder by the trial's number and overrides.

    Raises:
        UserError: the folder holds a trial of another sweep, or a run that belongs to no sweep.
    """
    trials = {tuple(sorted(trial.overrides)): trial for trial in read_trials(sweep_dir)}
    wanted = {tuple(sorted(job)): job for job in jobs}
    for key, trial in trials.items():
        if key not in wanted:
            raise UserError(
                f"{sweep_dir} holds another sweep: this command lacks its trial {trial.number}. {_difference(trial, jobs)}\n"
                f"To continue that sweep: lightune resume {sweep_dir}\n"
                "For a new one leave hydra.sweep.dir out, or name another folder."
            )
    number = max((trial.number for trial in trials.values()), default=-1)
    for key, job in wanted.items():
        if key not in trials:
            number += 1
            folder = sweep_dir / subdir(number, job)
            trials[key] = new_trial(folder, number=number, overrides=job, swept=swept)
    return sorted(trials.values(), key=lambda trial: trial.number)


def new_trial(folder: Path, *, number: int, overrides: list[str], swept: list[str]) -> Trial:
    """Create a trial in a folder, or raise a UserError if the folder holds a run."""
    if is_trial(folder) or (folder / "metrics.json").exists() or (folder / "checkpoints").exists():
        raise UserError(
            f"{folder} already holds a run, which this sweep would overwrite.\nName another folder: hydra.sweep.dir=DIR"
        )
    trial = Trial(folder=folder, number=number, overrides=overrides, swept=swept)
    trial.write()
    return trial


def _difference(trial: Trial, jobs: Sequence[list[str]]) -> str:
    """Compare a trial with the most similar job."""
    nearest = max(jobs, key=lambda job: len(set(job) & set(trial.overrides)))
    lines = list(ndiff(sorted(trial.overrides), sorted(nearest)))
    only_there = listed((line[2:] for line in lines if line.startswith("- ")), limit=3)
    only_here = listed((line[2:] for line in lines if line.startswith("+ ")), limit=3)
    return f"Only that trial has {only_there or 'nothing'}; only this command has {only_here or 'nothing'}."
