"""Historical averaging: weights are drawn towards the mean of all that they have been (Salimans et al. 2016, 3.3)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class HistoricalAverages:
    """Adds c |w - (1/t) sum of w[i], i = 1 ... t|^2 to the losses of players, w[t] being the weights of the moment.

    The mean counts as a constant, so that 2 c (w - mean) is added to the gradient of w. Weights that have no gradient,
    such as those of layers that do not count yet, stay where they are.

    Args:
        weights: c of each player that is averaged.
        parameters: of each player, by name.
    """

    def __init__(self, weights: Mapping[str, float], parameters: Mapping[str, Mapping[str, nn.Parameter]]) -> None:
        self.weights = dict(weights)
        self.parameters = {player: dict(parameters[player]) for player in weights}
        self.counts = {player: torch.zeros((), dtype=torch.int64) for player in weights}
        self.means = {
            player: {name: torch.zeros_like(parameter) for name, parameter in own.items()}
            for player, own in self.parameters.items()
        }

    @torch.no_grad()
    def add_gradients(self, player: str) -> dict[str, Tensor]:
        """Count the weights of the moment in, and add the term's gradient to those of the player.

        Returns:
            The squared distance from the mean, as a figure; nothing for a player that is not averaged.
        """
        if player not in self.weights:
            return {}
        count = int(self.counts[player].add_(1))
        own: list[Tensor] = list(self.parameters[player].values())
        means = list(self.means[player].values())
        torch._foreach_lerp_(means, own, 1 / count)
        distances = torch._foreach_sub(own, means)
        for parameter, distance in zip(own, distances, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(distance, alpha=2 * self.weights[player])
        return {f"history/{player}": torch.stack(torch._foreach_norm(distances)).square().sum()}

    def state_dict(self) -> dict[str, Tensor]:
        """Means by ``<player>|<parameter>``, and numbers of weights in them by ``<player>``."""
        means = {f"{player}|{name}": mean for player, own in self.means.items() for name, mean in own.items()}
        return {**means, **self.counts}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: a tensor is missing, or belongs to no parameter.
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            raise ValueError(f"historical averages of other parameters: {min(state.keys() ^ own.keys())}")
        for name, tensor in own.items():
            tensor.copy_(state[name])
