"""Which folder a run has."""

import os
import sys
from hashlib import sha256
from pathlib import Path

from omegaconf import OmegaConf


def run_folder(parent: str, now: str, resume: str | None) -> str:
    """Choose a run's folder: ``PARENT/NOW``, the folder of the run to resume, or one that a SLURM job finds again.

    All processes of a run get the same folder, on any number of machines: the first tells the others.

    Args:
        parent: folder of the runs on this data with this model.
        now: the time.
        resume: a run's folder; ``last``: the newest that holds a ``last.ckpt``; None: a new run.
    """
    if resume == "last":
        paths = Path(parent).glob("*/checkpoints/last.ckpt")
        newest = max(paths, key=lambda path: path.stat().st_mtime_ns, default=None)
        return str(newest.parent.parent if newest else Path(parent) / now)
    if resume is not None:
        return str(Path(str(resume)).expanduser())
    if job := os.environ.get("SLURM_JOB_ID"):
        # a job may run several commands
        command = sha256("\0".join(sys.argv[1:]).encode()).hexdigest()[:8]
        return str(Path(parent) / f"slurm-{job}-{command}")
    folder = str(Path(parent) / now)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        if os.environ["RANK"] == "0":
            store.set("lightune/run_folder", folder)
        folder = store.get("lightune/run_folder").decode()
    return folder


def hydra_folder(run_dir: str) -> str:
    """Choose where in a run's folder Hydra writes the configuration, so that a resumed run keeps its first one."""
    started = any(Path(run_dir, "checkpoints").glob("*.ckpt"))
    return ".hydra/again" if started else ".hydra"


OmegaConf.register_new_resolver("run_folder", run_folder)
OmegaConf.register_new_resolver("hydra_folder", hydra_folder)
