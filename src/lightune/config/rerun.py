"""The command that a person gave, to be given again."""

import shlex

from hydra.core.hydra_config import HydraConfig


def tuning_asked() -> str:
    """Return the chosen option of ``conf/tuning``."""
    return str(HydraConfig.get().runtime.choices["tuning"])


def command(*overrides: str) -> str:
    """Return the command of this job with other options, to train with."""
    new = [one.partition("=")[0] for one in overrides]
    given = [one for one in HydraConfig.get().overrides.task if _name(one) not in (*new, "plan", "find")]
    return shlex.join(["python", "train.py", *given, *overrides])


def _name(override: str) -> str:
    return override.partition("=")[0].lstrip("+")
