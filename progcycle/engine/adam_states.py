"""The state of Adam, as a part of a checkpoint, by names that depend on no order."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

KEYS = ("step", "exp_avg", "exp_avg_sq")


class AdamStates:
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
