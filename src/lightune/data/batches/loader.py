"""The rows of a split, read and collated batch by batch, in this process or in workers."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightune.data.batches.frozen_states import STATES_KEY, FrozenStates, restore_padding
from lightune.data.batches.sampler import FillerBatch, SeededBatch

Features = list[dict[str, Any]]


class SplitRows(Dataset[Any]):
    """The rows of a batch by their numbers: the numbers, the features and, if there are any, the frozen states."""

    def __init__(self, dataset: Any, states: FrozenStates | None) -> None:
        self.dataset = dataset
        self.states = states

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, rows: list[int]) -> tuple[list[int], Features, list[Tensor]]:
        states = [] if self.states is None else [self.states[row] for row in rows]
        return rows, self.dataset.__getitems__(list(rows)), states


def collate(
    batch_rows: tuple[list[int], Features, list[Tensor]], *, inner: Callable[[Features], dict[str, Any]]
) -> dict[str, Any]:
    """Collate what ``SplitRows`` gives with ``inner``, the preprocessor's ``collate``.

    What is random in a training batch (which words are masked) depends on its own seed, in whatever process. A
    held-out batch also has ``row_numbers``, in the split, and ``filler`` if it is a ``FillerBatch``.
    """
    rows, features, states = batch_rows
    if isinstance(rows, SeededBatch):
        torch.manual_seed(rows.seed)
    batch = inner(features)
    if states:
        batch[STATES_KEY] = restore_padding(torch.cat(states).float(), batch["attention_mask"].bool())
    if not isinstance(rows, SeededBatch):
        batch["row_numbers"] = list(rows)
    if isinstance(rows, FillerBatch):
        batch["filler"] = True
    return batch


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
