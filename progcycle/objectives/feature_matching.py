"""The generator's loss that compares mean features of real and fake pictures (Salimans et al. 2016, section 3.1)."""

from typing import Literal

from torch import Tensor

from progcycle.blocks import full_precision, sum_over_processes, world_size


def feature_matching(real: Tensor, fake: Tensor, distance: Literal["l1", "l2"] = "l1") -> Tensor:
    """The mean over all features of |E f(x) - E f(G(z))|, or of its square.

    The expectations are over the pictures of all processes; gradients are those of the own pictures, so that their
    mean over the processes is that of the whole.

    Args:
        real: features of real pictures, constants.  # [N, ...]
        fake: features of fake pictures.  # [N, ...]
        distance: ``l1`` as in the authors' code for CIFAR-10, ``l2`` as in that for MNIST.
    """
    own = full_precision(real.detach()).mean(0) - full_precision(fake).mean(0)
    joint = sum_over_processes(own.detach()) / world_size()
    difference = own + (joint - own.detach())
    return (difference.abs() if distance == "l1" else difference.square()).mean()
