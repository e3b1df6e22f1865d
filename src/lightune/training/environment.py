"""Describe the software and hardware of a run."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "transformers", "lightning", "datasets")


def describe(source: Path) -> dict[str, str]:
    """Return package versions, the machine, and the commit of the code in a folder."""
    description = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    description["system"] = platform.platform()
    description["CPU"] = f"{_cpu_name()}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        description["GPU"] = ", ".join(gpus)
    if commit := _git("rev-parse", "HEAD", source=source):
        changes = _git("status", "--porcelain", "--untracked-files=no", source=source)
        description["git commit"] = commit + (", with uncommitted changes" if changes else "")
    return description


def _cpu_name() -> str:
    """Return the processor's name, which Python knows on few systems."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*arguments: str, source: Path) -> str:
    """Return the output of a git command; nothing where git or the repository is missing."""
    command = ["git", "-C", str(source), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
