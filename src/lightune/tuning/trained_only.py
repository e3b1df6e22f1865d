"""Checkpoints that hold only what was trained: the frozen weights are loaded again by their name."""

from hashlib import sha256
from typing import Any

import torch
from torch import nn

from lightune.common.errors import UserError

DIGEST_KEY = "frozen_sha256"
"""Marks such a checkpoint, and says which weights it needs beside it."""


class TrainedOnly:
    """What of a task's weights a checkpoint keeps.

    Args:
        task: its weights loaded, those that are trained marked by ``requires_grad``.
    """

    def __init__(self, task: nn.Module) -> None:
        found = sha256()
        self.names: set[str] = set()
        for name, parameter in task.named_parameters():
            if parameter.requires_grad:
                self.names.add(name)
            else:
                found.update(f"{name} {parameter.dtype} {tuple(parameter.shape)} ".encode())
                found.update(parameter.detach().contiguous().flatten().view(torch.uint8).numpy().data)
        self.digest = found.hexdigest()

    def drop_frozen(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trained weights of a checkpoint that is about to be saved."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: state[name] for name in state if name in self.names}
        checkpoint[DIGEST_KEY] = self.digest

    def check(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that leaves a trained weight out, or was trained beside other frozen weights.

        Raises:
            UserError: says which.
        """
        state = checkpoint["state_dict"]
        if missing := sorted(self.names - state.keys()):
            raise UserError(
                f"The checkpoint lacks {len(missing)} trained weights, the first is {missing[0]}."
            )
        if unknown := sorted(state.keys() - self.names):
            raise UserError(
                f"The checkpoint holds {len(unknown)} weights too many, the first is {unknown[0]}."
            )
        if checkpoint.get(DIGEST_KEY) != self.digest:
            raise UserError(
                "The pretrained weights are not those that the run was trained on, and its checkpoint holds only what was trained.\n"
                "Restore the model that model.pretrained_model_name_or_path names (model.revision=COMMIT keeps the Hub's)."
            )
