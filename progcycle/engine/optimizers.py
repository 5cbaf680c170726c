"""The optimizers of players, and their state as a part of a checkpoint, by names that depend on no order."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from progcycle.recipe import PlayerOptimizer, on_curve
from progcycle.runtime.memory_format import has_channels_last

# What a step depends on, of any of them. Others that torch may add would have to be kept too.
KEYS = ("step", "exp_avg", "exp_avg_sq", "square_avg", "momentum_buffer")


def make_optimizer(options: PlayerOptimizer, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer that the recipe asks for.

    Weight decay is that of L2: it is added to the gradient, also in Adam. SGD's first step with momentum m, learning
    rate lr and gradient g is v = g, later ones v = m v + g, or dampened v = m v + (1 - m) g; each moves a weight by
    -lr v (Sutskever et al. 2013 have lr within v, which is the same while lr is). RMSprop moves it by
    -lr g / (sqrt(s) + eps), s being the running mean of g^2 from 0 on (Hinton 2012).

    Args:
        options: of one player.
        groups: of parameters, each with a learning rate.
    """
    if options.name == "sgd":  # not fused: that takes momentum for all parameters at once, or for none
        return torch.optim.SGD(groups, weight_decay=options.weight_decay)
    if options.name == "rmsprop":
        return torch.optim.RMSprop(groups, alpha=options.smoothing, eps=options.eps, weight_decay=options.weight_decay)
    return _Adam(groups, betas=options.betas, eps=options.eps, weight_decay=options.weight_decay, fused=True)


class _Adam(torch.optim.Adam):
    """Adam whose fused kernel gets weights with channels last as views in the order of memory.

    On a CPU it would make a copy of each in every step, and be wrong about a gradient of another layout.
    """

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> bool:
        complex_numbers: bool = super()._init_group(group, *lists)  # type: ignore[no-untyped-call]
        weights, gradients, *moments = lists[:4]
        last = [has_channels_last(weight) for weight in weights]
        for tensors in (weights, gradients, *moments):
            tensors[:] = [t.permute(0, 2, 3, 1) if moved else t for t, moved in zip(tensors, last, strict=True)]
        gradients[:] = [gradient.contiguous() for gradient in gradients]
        return complex_numbers


def set_momentum(optimizer: torch.optim.Optimizer, options: PlayerOptimizer, kimg: float) -> None:
    """Give SGD the momentum of the moment; others have none.

    Args:
        optimizer: made by :func:`make_optimizer`.
        options: of one player.
        kimg: pictures shown so far, in thousands.
    """
    if options.name == "sgd":
        for group in optimizer.param_groups:
            group["momentum"] = on_curve(options.momentum, kimg)
            group["dampening"] = group["momentum"] if options.dampened else 0.0


class OptimizerStates:
    """Steps and moments of the players' optimizers.

    Args:
        optimizers: by player.
        parameters: of each player, by name.
    """

    def __init__(self, optimizers: Mapping[str, Any], parameters: Mapping[str, Mapping[str, nn.Parameter]]) -> None:
        self.optimizers, self.parameters = optimizers, parameters

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by ``<player>|<parameter>|<key>``; parameters that no gradient has reached have none."""
        tensors = {}
        for player, optimizer in self.optimizers.items():
            for name, parameter in self.parameters[player].items():
                for key, value in optimizer.state.get(parameter, {}).items():
                    if value is not None:  # SGD without momentum
                        tensors[f"{player}|{name}|{key}"] = value
        return tensors

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: there is a tensor of no parameter.
        """
        tensors = dict(state)
        for player, optimizer in self.optimizers.items():
            optimizer.state.clear()
            for name, parameter in self.parameters[player].items():
                for key in KEYS:
                    value = tensors.pop(f"{player}|{name}|{key}", None)
                    if value is not None:
                        # Moments share the memory format of their parameter, which the sums' order depends on.
                        like = parameter if value.shape == parameter.shape else value
                        optimizer.state[parameter][key] = torch.empty_like(like).to(parameter.device).copy_(value)
        if tensors:
            raise ValueError(f"unknown optimizer state {sorted(tensors)[0]}")
