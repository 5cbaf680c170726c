"""What several processes share: weights at the start, gradients at every step. There is no wrapper around networks.

Averaging gradients by hand is right for every pattern that GANs need: penalties, frozen players, layers that have not
grown yet, several passes.
"""

import os
from collections.abc import Iterable

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn

from progcycle.errors import UserError


def check_processes(accelerator: Accelerator) -> None:
    """Refuse a launch in which the processes do not know each other.

    Raises:
        UserError: the launcher started several processes, but Accelerate runs them one by one.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != accelerator.num_processes:
        raise UserError(
            f"The launcher started {world} processes, but each of them trains by itself; "
            "to use several CPU processes set ACCELERATE_USE_CPU=true and launch with torchrun."
        )


@torch.no_grad()
def broadcast_weights(accelerator: Accelerator, networks: Iterable[nn.Module]) -> None:
    """Give every process the weights of the first."""
    if accelerator.num_processes > 1:
        for network in networks:
            for parameter in network.parameters():
                parameter.copy_(broadcast(parameter.detach().clone()))


@torch.no_grad()
def average_gradients(accelerator: Accelerator, parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, in one flat message."""
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))
