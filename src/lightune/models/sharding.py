"""Fully sharded data parallel: each device holds a shard of weights, gradients and optimizer state (Zhao et al., 2023)."""

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from lightune.models.model_parts import layer_stacks


class FullyShardedStrategy(ModelParallelStrategy):
    """Shard over all devices of all machines with torch's ``fully_shard`` (FSDP2), on CPUs too.

    Lightning's ``FSDPStrategy`` clips no gradients and runs on GPUs only. A checkpoint is one file with all weights.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard a model in place over a one-dimensional mesh: a layer's weights are together only while it computes.

    A model that is sharded already stays as it is.
    """
    if isinstance(model, FSDPModule):
        return
    for stack in layer_stacks(model).values():
        for layer in stack:
            for part in layer if isinstance(layer, nn.ModuleList) else [layer]:
                fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
