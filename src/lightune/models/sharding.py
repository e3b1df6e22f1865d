"""Fully sharded data parallel: each device keeps a share of weights, gradients and optimizer state (Zhao et al., 2023)."""

from collections.abc import Iterator

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard


class FullyShardedStrategy(ModelParallelStrategy):
    """Shards over all devices of all machines, by torch's ``fully_shard`` (FSDP2), on CPUs too.

    Lightning's ``FSDPStrategy`` clips no gradients and runs on GPUs alone. Checkpoints are whole, one file, read like any other.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard a model in place, each of its blocks for itself: it is whole only while it computes.

    Args:
        model: left as it is where it is sharded already.
        mesh: devices, in one dimension.
    """
    if isinstance(model, FSDPModule):
        return
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else _blocks(child)
