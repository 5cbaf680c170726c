"""What several processes share: weights at the start, gradients at every step. There is no wrapper around networks.

Averaging gradients by hand is right for every pattern that GANs need: penalties, frozen players, layers that have not
grown yet, several passes.
"""

import os
import sys
from collections.abc import Generator, Iterable
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn

from progcycle.errors import UserError

T = TypeVar("T")
SHARDED = ("DEEPSPEED", "FSDP", "MEGATRON_LM")


def check_processes(accelerator: Accelerator) -> None:
    """Refuse a launch in which the processes do not know each other, or share out the weights.

    Raises:
        UserError: the launcher started several processes, but Accelerate runs them one by one; or it was configured
            for DeepSpeed, FSDP and the like.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != accelerator.num_processes:
        raise UserError(
            f"The launcher started {world} processes, but each of them trains by itself; "
            "to use several CPU processes set ACCELERATE_USE_CPU=true and launch with torchrun."
        )
    kind = str(accelerator.distributed_type).removeprefix("DistributedType.")
    if kind in SHARDED:
        raise UserError(f"Accelerate is configured for {kind}, which does not suit GANs; configure plain multi-GPU.")


@torch.no_grad()
def broadcast_weights(accelerator: Accelerator, networks: Iterable[nn.Module]) -> None:
    """Give every process the weights of the first, and the buffers: spectral norm keeps its vectors there."""
    if accelerator.num_processes > 1:
        for network in networks:
            for tensor in (*network.parameters(), *network.buffers()):
                tensor.copy_(broadcast(tensor.detach().clone()))


@torch.no_grad()
def average_gradients(accelerator: Accelerator, parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, in one flat message."""
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    flat = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))


def speaking(accelerator: Accelerator, items: Generator[T, None, None]) -> Generator[T, None, None]:
    """``items``; an error that they raise in another process than the first, which alone speaks, is told at once."""
    try:
        yield from items
    except UserError as error:
        if not accelerator.is_main_process:
            print(f"error in process {accelerator.process_index}: {error}", file=sys.stderr, flush=True)
        raise
