"""The rows of a classification head: each belongs to a label, wherever the data names that label."""

import logging
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from lightune.common.errors import listed
from lightune.models.model_parts import base_model
from lightune.models.model_with_head import ModelWithHead, head_prefix

log = logging.getLogger(__name__)


def output_layer(model: Any) -> tuple[str, nn.Linear] | None:
    """Return the last layer outside the body with a row for each label, and its name; None where there is none."""
    body, labels = {*base_model(model).modules()}, model.config.num_labels
    linear = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module not in body and module.out_features == labels
    ]
    return linear[-1] if linear else None


def fill_head(model: ModelWithHead, state: dict[str, Tensor]) -> tuple[nn.Linear, dict[str, Tensor]]:
    """Fill a head with a run's of the same class and sizes, but for its output layer: return that and its trained rows.

    There are none where the run's weights, ``state``, hold no such head.
    """
    prefix = head_prefix(model.make_head)
    trained = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
    name, layer = output_layer(model) or ("", nn.Linear(0, 0))
    rows = {f"{name}.{key}".removeprefix("classifier."): key for key in layer.state_dict()}
    own, sizes = ({k: t.shape[k in rows :] for k, t in w.items()} for w in (model.classifier.state_dict(), trained))
    if not name or own != sizes:
        return layer, {}
    model.classifier.load_state_dict({k: t for k, t in trained.items() if k not in rows}, strict=False)
    return layer, {rows[k]: trained[k] for k in rows}


@torch.no_grad()
def keep_rows(layer: nn.Linear, trained: dict[str, Tensor], *, old: list[str], new: list[str], name: str) -> None:
    """Give each label the row that it has in a trained head, and a random one to a label that the head lacks; say so.

    ``layer`` is the head of the ``new`` labels, filled in place, and ``trained`` the ``weight`` (old labels, size) and the
    ``bias`` (old labels,), if any, of the ``old``. Their names may differ in case, and in the ``LABEL_`` before a number;
    that of a regression's number is not read.
    """
    trained = {key: tensor.clone() for key, tensor in trained.items()}
    old_keys, new_keys = ([label.removeprefix("LABEL_").casefold() for label in labels] for labels in (old, new))
    if len({*old_keys}) < len(old) or len({*new_keys}) < len(new):
        old_keys, new_keys = old, new
    if len(old) == len(new) == 1:
        old_keys = new_keys
    for key, parameter in layer.named_parameters():
        for row, label in enumerate(new_keys):
            fresh = torch.zeros_like(parameter[row]) if key == "bias" else torch.randn_like(parameter[row]) * 0.02
            parameter[row] = trained[key][old_keys.index(label)] if label in old_keys else fresh
    lacking = [label for label, key in zip(new, new_keys, strict=True) if key not in old_keys]
    gone = [label for label, key in zip(old, old_keys, strict=True) if key not in new_keys]
    warn = rank_zero_only(log.warning)
    if lacking == new:
        warn(f"The head of {name} is new: none of its labels ({listed(old)}) is one of the data's ({listed(new)})")
    elif old_keys != new_keys:
        told = [f"; {what}: {listed(labels)}" for what, labels in (("new", lacking), ("gone", gone)) if labels]
        warn(f"The head of {name} keeps the row of each label by its name" + "".join(told))
