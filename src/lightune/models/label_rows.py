"""The rows of a classification head: each belongs to a label, wherever the data names that label."""

import logging
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from transformers import PreTrainedConfig

from lightune.common.errors import listed

log = logging.getLogger(__name__)


def label_names(config: PreTrainedConfig) -> list[str]:
    """Return the names of a head's labels, in the order of its rows."""
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def output_layer(model: Any) -> tuple[str, nn.Linear]:
    """Return the layer with a row for each label, which is the last linear one, and its name."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]


@torch.no_grad()
def keep_rows(layer: nn.Linear, trained: dict[str, Tensor], *, old: list[str], new: list[str], name: str) -> None:
    """Give each label the row that it had in a trained head, and a random one to a label that the head lacks; say so.

    Args:
        layer: the new head, filled in place.
        trained: the ``weight`` (old labels, size) of the trained head, and its ``bias`` (old labels,) if it has one.
        old: the labels of the trained head.
        new: those of the data.
        name: of the model, for the message.
    """
    rows = _rows(old, new)
    trained = {key: tensor.clone() for key, tensor in trained.items()}
    for key, parameter in layer.named_parameters():
        for row, old_row in enumerate(rows):
            if old_row is not None:
                parameter[row] = trained[key][old_row]
            else:
                parameter[row] = 0 if key == "bias" else torch.randn_like(parameter[row]) * 0.02
    lacking = [label for label, row in zip(new, rows, strict=True) if row is None]
    gone = [label for row, label in enumerate(old) if row not in rows]
    warn = rank_zero_only(log.warning)
    if len(lacking) == len(new):
        warn(f"The head of {name} is new: none of its labels ({listed(old)}) is one of the data's ({listed(new)})")
    elif rows != [*range(len(old))]:
        told = [f"{what}: {listed(labels)}" for what, labels in (("new", lacking), ("gone", gone)) if labels]
        warn("; ".join([f"The head of {name} keeps the row of each label by its name", *told]))


def _rows(old: list[str], new: list[str]) -> list[int | None]:
    """Return the old row of each new label; names may differ in case, and in the ``LABEL_`` before a number."""
    # a regression's number has no name
    if len(old) == len(new) == 1:
        return [0]
    old_keys, new_keys = ([name.removeprefix("LABEL_").casefold() for name in names] for names in (old, new))
    if len({*old_keys}) < len(old) or len({*new_keys}) < len(new):
        old_keys, new_keys = old, new
    return [old_keys.index(key) if key in old_keys else None for key in new_keys]
