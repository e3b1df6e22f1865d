"""Every combination, each a trial; a sweep that is started again finds those it has."""

from collections.abc import Callable, Sequence
from difflib import ndiff
from pathlib import Path

from lightune.common.errors import UserError, listed
from lightune.sweeps.trial import Trial, is_trial, read_trials


def plan_grid(
    jobs: Sequence[list[str]], *, sweep: Path, swept: list[str], name: Callable[[int, list[str]], str]
) -> list[Trial]:
    """Give each job its trial: the one that is there already, or a new one under the next number.

    Args:
        jobs: overrides of each.
        sweep: folder of all.
        swept: names of the options that vary.
        name: makes a trial's folder's name of its number and overrides.

    Raises:
        UserError: the folder holds a trial that is not among the jobs: it is another sweep's; or a run that no sweep made.
    """
    found = {tuple(sorted(trial.overrides)): trial for trial in read_trials(sweep)}
    wanted = {tuple(sorted(job)): job for job in jobs}
    for key, trial in found.items():
        if key not in wanted:
            raise UserError(
                f"{sweep} holds another sweep: its trial {trial.number} is not among these. {_differs(trial, jobs)}\n"
                f"To go on with it as it was started: lightune resume {sweep}\n"
                "For a new one leave hydra.sweep.dir out, or name another folder."
            )
    number = max((trial.number for trial in found.values()), default=-1)
    for key, job in wanted.items():
        if key not in found:
            number += 1
            found[key] = new_trial(sweep / name(number, job), number=number, overrides=job, swept=swept)
    return sorted(found.values(), key=lambda trial: trial.number)


def new_trial(folder: Path, *, number: int, overrides: list[str], swept: list[str]) -> Trial:
    """Plan a trial in a folder that holds nothing.

    Raises:
        UserError: it holds a run.
    """
    if is_trial(folder) or (folder / "metrics.json").exists() or (folder / "checkpoints").exists():
        raise UserError(
            f"{folder} holds a run already, which this sweep would write over.\n"
            "Name another folder: hydra.sweep.dir=DIR"
        )
    trial = Trial(folder=folder, number=number, overrides=overrides, swept=swept)
    trial.write()
    return trial


def _differs(trial: Trial, jobs: Sequence[list[str]]) -> str:
    nearest = max(jobs, key=lambda job: len(set(job) & set(trial.overrides)))
    lines = list(ndiff(sorted(trial.overrides), sorted(nearest)))
    was = listed((line[2:] for line in lines if line.startswith("- ")), limit=3)
    now = listed((line[2:] for line in lines if line.startswith("+ ")), limit=3)
    return f"It had {was or 'no more'}, here is {now or 'nothing for it'}."
