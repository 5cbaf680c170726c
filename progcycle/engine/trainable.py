"""What training may change: a parameter that a network has frozen by itself, when it was made, stays as it is.

Such parameters are in no optimizer, no average over processes or steps, and no checkpoint: making the network gives
them again. Snapshots hold them, since they are needed to use it.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from progcycle.errors import UserError


def frozen_names(network: nn.Module) -> frozenset[str]:
    """Names of the parameters that need no gradient; to be asked before training, which freezes players in turn."""
    named = network.named_parameters(remove_duplicate=False)
    return frozenset(name for name, parameter in named if not parameter.requires_grad)


class Trainable:
    """The parameters of some networks that training may change.

    Args:
        networks: by name, as they were made.
        players: names of the networks that are updated together, by player.

    Attributes:
        parameters: those that may change, by network.
        frozen: names of the others, by network.

    Raises:
        UserError: a player has none.
    """

    def __init__(self, networks: Mapping[str, nn.Module], players: Mapping[str, Sequence[str]]) -> None:
        self.networks, self.players = networks, players
        self.parameters = {name: [p for p in net.parameters() if p.requires_grad] for name, net in networks.items()}
        self.frozen = {name: frozen_names(network) for name, network in networks.items()}
        for player in players:
            if not self.of(player):
                raise UserError(
                    f"network: there is nothing to train for {player}: {' and '.join(players[player])} froze all of "
                    "their parameters."
                )

    def of(self, player: str) -> list[nn.Parameter]:
        """The parameters of a player."""
        return [parameter for name in self.players[player] for parameter in self.parameters[name]]

    def named(self, player: str) -> dict[str, nn.Parameter]:
        """The parameters of a player by ``<network>.<parameter>``, the same whatever their order."""
        return {
            f"{name}.{key}": parameter
            for name in self.players[player]
            for key, parameter in self.networks[name].named_parameters()
            if key not in self.frozen[name]
        }

    def counts(self) -> dict[str, int]:
        """How many numbers training may change, by network, whosever turn it is."""
        return {name: sum(p.numel() for p in parameters) for name, parameters in self.parameters.items()}

    def choose(self, player: str) -> None:
        """Let the parameters of a player need gradients, and those of all others none."""
        for name, parameters in self.parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(name in self.players[player])


class Weights:
    """Weights and buffers of networks as a part of a checkpoint, without what they have frozen by themselves.

    Args:
        networks: by name.
        frozen: names of the frozen parameters, by network.
    """

    def __init__(self, networks: Mapping[str, nn.Module], frozen: Mapping[str, frozenset[str]]) -> None:
        self.networks, self.frozen = networks, frozen

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by ``<network>.<parameter>``."""
        return {
            f"{name}.{key}": tensor
            for name, network in self.networks.items()
            for key, tensor in network.state_dict().items()
            if key not in self.frozen[name]
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave, or whole states of the networks.

        Raises:
            ValueError: there is a tensor of no network.
            RuntimeError: anything else is missing, unknown, or of another shape.
        """
        found: dict[str, dict[str, Tensor]] = {name: {} for name in self.networks}
        for key, tensor in state.items():
            name, _, own = key.partition(".")
            if name not in found:
                raise ValueError(f"there is no network {name}")
            found[name][own] = tensor
        for name, network in self.networks.items():
            known = network.state_dict()
            network.load_state_dict({**{key: known[key] for key in self.frozen[name]}, **found[name]})
