"""Processes that collate batches; they neither hang nor outlive the run."""

import multiprocessing
import os
import threading
from typing import Any


def worker_settings(num_workers: int) -> dict[str, Any]:
    """Return a DataLoader's arguments about workers; without any, the main process collates.

    Workers are forked from a process that has no threads. The training process has some (of tokenizers, Arrow, a
    process group, a progress bar), and a fork of it now and then hangs in a lock that a thread held.
    """
    if num_workers == 0:
        return {"num_workers": 0}
    settings = {"num_workers": num_workers, "persistent_workers": True, "worker_init_fn": _end_with_training}
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return settings
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "datasets", "transformers", "lightune.data"])
    return settings | {"multiprocessing_context": context}


def _end_with_training(_: int) -> None:
    """End this worker when training is killed: torch watches the fork server, which lives as long as the worker."""
    training = multiprocessing.parent_process()
    assert training is not None

    def watch() -> None:
        training.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
