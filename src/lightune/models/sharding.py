"""Fully sharded data parallel: each device holds a shard of weights, gradients and optimizer state (Zhao et al., 2023)."""

from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from lightune.common.errors import UserError
from lightune.models.model_parts import layer_stacks


class FullyShardedStrategy(ModelParallelStrategy):
    """Shard over all devices of all machines with torch's ``fully_shard`` (FSDP2), on CPUs too.

    Lightning's ``FSDPStrategy`` clips no gradients and runs on GPUs only. A checkpoint is one file with all weights, or
    with the trained ones of a module that loads no others.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Gather the weights on the first process, in its host's memory."""
        module = self.lightning_module
        assert module is not None
        options = StateDictOptions(
            full_state_dict=True, cpu_offload=True, ignore_frozen_params=not module.strict_loading
        )
        return get_model_state_dict(module, options=options)


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard a model in place over a one-dimensional mesh: a layer's weights are together only while it computes.

    A model that is sharded already stays as it is.
    """
    if isinstance(model, FSDPModule):
        return
    if not all(parameter.is_floating_point() for parameter in model.parameters()):
        raise UserError(
            "tuning=qlora: trainer=fsdp cannot distribute weights of 4 bits.\n"
            "Choose trainer=ddp; or tuning=lora, with frozen weights in 16 bits on all devices together."
        )
    for stack in layer_stacks(model).values():
        for layer in stack:
            for part in layer if isinstance(layer, nn.ModuleList) else [layer]:
                fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)


def hold_whole(model: nn.Module, *, whole: bool) -> None:
    """Let each device keep all weights of a sharded model from the next forward pass on, or only its share again.

    A device that writes a text computes more often or less often than the others, and cannot gather weights with them.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # torch itself keeps those of the outermost module
            module.set_reshard_after_forward(not whole and module is not model, recurse=False)
            if not whole:
                module.reshard()
