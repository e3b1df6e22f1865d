"""How many cores this process may use, and how its threads wait for each other."""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def wait_briefly(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let a thread that waits for the others sleep soon, unless the environment says how they wait.

    By default OpenMP's threads look 300,000 times whether the others are ready, and keep the core from them where it is
    shared with other work. 1,000 times is what it takes where it knows of more threads than cores. It is read when torch is
    imported. Source: the manual of GNU libgomp, GOMP_SPINCOUNT.
    """
    if "OMP_WAIT_POLICY" not in environ:
        environ.setdefault("GOMP_SPINCOUNT", "1000")


def granted_cores() -> int | None:
    """Return the cores that a container's quota grants, rounded up; None: all that there are."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        # the first version has a folder for each controller, the second one for all
        if not controllers or "cpu" in controllers.split(","):
            folder = CGROUPS / controllers / path.lstrip("/")
            quotas += [_quota(one) for one in (folder, *folder.parents) if one.is_relative_to(CGROUPS)]
    least = min(quotas, default=math.inf)
    return None if math.isinf(least) else max(1, math.ceil(least))


def _quota(folder: Path) -> float:
    """Return the cores that a control group may use."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if quota not in ("max", "-1"):
            return int(quota) / int(period)
    return math.inf
