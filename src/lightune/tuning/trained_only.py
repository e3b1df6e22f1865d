"""Checkpoints with the trained weights only; the frozen ones are loaded again from the pretrained model."""

from typing import Any

from torch import nn

from lightune.common.errors import UserError
from lightune.models.weights import digest

# marks such a checkpoint, and identifies the frozen weights that it needs
DIGEST_KEY = "frozen_sha256"


class TrainedOnly:
    """The weights that a task's checkpoints hold: those with ``requires_grad``."""

    def __init__(self, task: nn.Module) -> None:
        self.names = {name for name, parameter in task.named_parameters() if parameter.requires_grad}
        self.digest = digest((name, p) for name, p in task.named_parameters() if name not in self.names)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Keep only the trained weights in a checkpoint that is about to be saved."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: state[name] for name in state if name in self.names}
        checkpoint[DIGEST_KEY] = self.digest

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Raise a UserError for a checkpoint of other trained weights, or trained beside other frozen weights."""
        # trainer=fsdp has loaded and taken out the weights: the digest alone tells
        names = checkpoint.get("state_dict", self.names)
        if missing := sorted(self.names.difference(names)):
            raise UserError(f"The checkpoint lacks {len(missing)} trained weights, the first is {missing[0]}.")
        if unknown := sorted(set(names) - self.names):
            raise UserError(f"The checkpoint holds {len(unknown)} weights too many, the first is {unknown[0]}.")
        if checkpoint.get(DIGEST_KEY) != self.digest:
            raise UserError(
                "The pretrained weights are not those that the run was trained on, and its checkpoint holds the trained weights only.\n"
                "Restore the model that model.pretrained_model_name_or_path names (model.revision=COMMIT keeps the Hub's)."
            )
