"""Where a run ran: what somebody who repeats it has to know."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "transformers", "lightning", "datasets")


def describe(source: Path) -> dict[str, str]:
    """Return versions, the machine, and the commit of the code.

    Args:
        source: the folder that the code lies in.
    """
    found = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    found["system"] = platform.platform()
    found["CPU"] = f"{_cpu()}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        found["GPU"] = ", ".join(gpus)
    commit = _git("rev-parse", "HEAD", source=source)
    if commit:
        dirty = _git("status", "--porcelain", "--untracked-files=no", source=source)
        found["git commit"] = commit + (", with changes that are not committed" if dirty else "")
    return found


def _cpu() -> str:
    """Return the processor's name, which Python knows on few systems."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*arguments: str, source: Path) -> str:
    command = ["git", "-C", str(source), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or no repository
        return ""
    return done.stdout.strip()
