"""Running averages of generators, which are what is sampled, exported and used."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from progcycle.networks import Network
from progcycle.recipe import Ema


def ema_factor(options: Ema, nimg: int, batch_size: int) -> float:
    """Weight of the old average in one update.

    ``per_step`` as it is, or 0.5 ^ (batch_size / half-life), the half-life being at most ``rampup`` of the pictures
    shown so far (Karras et al. 2020, training loop), so that short runs catch up.

    Args:
        options: the ``training.ema`` section.
        nimg: pictures shown before the step.
        batch_size: pictures of the step.

    Returns:
        A factor in [0, 1]; 0 copies the weights.
    """
    if options.per_step is not None:
        return options.per_step
    half_life = min(1000 * (options.half_life_kimg or float("inf")), options.rampup * nimg)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


class EmaNetworks:
    """Averages of some networks, which also average the running statistics of batch norm; the frozen is the same.

    The mean of features is linear in the weights of the layer in front, so that averaged statistics belong to averaged
    weights, and those of the newest weights do not. Other buffers are copied as they are.

    Args:
        networks: those to average, on their device.
        options: the ``training.ema`` section.
    """

    def __init__(self, networks: Mapping[str, Network], options: Ema) -> None:
        self.options = options
        self.networks = {name: copy.deepcopy(net).requires_grad_(False).eval() for name, net in networks.items()}
        # By network: what is averaged, the newest of it, and pairs of what is copied.
        self._averaged: list[tuple[list[Tensor], list[Tensor]]] = []
        self._copied: list[tuple[Tensor, Tensor]] = []
        for name, source in networks.items():
            average = self.networks[name]
            averages, newest = (_averaged(net, source.frozen) for net in (average, source))
            if averages:
                self._averaged.append((averages, newest))
            others = source.frozen | source.running_statistics().keys()
            buffers = dict(source.named_buffers())
            self._copied += [(own, buffers[key]) for key, own in average.named_buffers() if key not in others]

    @torch.no_grad()
    def update(self, nimg: int, batch_size: int) -> None:
        """Move the averages towards the networks, after a step that began at ``nimg`` pictures."""
        weight = 1 - ema_factor(self.options, nimg, batch_size)
        for averages, newest in self._averaged:
            torch._foreach_lerp_(averages, newest, weight)
        for average, own in self._copied:
            average.copy_(own)


def _averaged(network: Network, frozen: frozenset[str]) -> list[Tensor]:
    parameters = (parameter for key, parameter in network.named_parameters() if key not in frozen)
    return [*parameters, *network.running_statistics().values()]
