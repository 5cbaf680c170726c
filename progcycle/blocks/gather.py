"""The joined batch of all processes, for layers that compare pictures with one another.

Row i of process r is row i * P + r of the joined batch, P processes in all. Every process must take part in every call
here, forward and backward, with tensors of the same shape.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """Number of processes that train together; 1 if ``torch.distributed`` is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(x: Tensor) -> Tensor:
    """The rows of all processes, in the order of the joined batch; x itself if there is one process.

    Differentiable any number of times. Its backward adds the gradients of all processes, so what each process gets is
    the gradient of the *sum* of their losses. Averaging the gradients of the weights over the processes afterwards
    gives exactly the gradient of the joined batch's mean loss.

    Args:
        x: rows of this process.  # [N, ...]

    Returns:
        Rows of all P processes.  # [N * P, ...]
    """
    return cast(Tensor, _Gather.apply(x)) if world_size() > 1 else x


def own_rows(x: Tensor) -> Tensor:  # [N * P, ...] -> [N, ...]
    """The rows of this process, taken from those of all; undoes :func:`gather_rows`."""
    return x[dist.get_rank() :: world_size()] if world_size() > 1 else x


@torch.no_grad()
def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of x over the processes, of the same shape on each; without gradient."""
    if world_size() == 1:
        return x.detach()
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class _Gather(torch.autograd.Function):
    """The rows of all processes from those of each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _SumOwn.apply(gradients[0])


class _SumOwn(torch.autograd.Function):
    """The transpose of :class:`_Gather`: rows summed over the processes, each keeping its own. And vice versa."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return own_rows(sum_over_processes(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Gather.apply(gradients[0])
