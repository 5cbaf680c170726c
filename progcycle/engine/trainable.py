"""What training may change: a parameter that a network has frozen by itself, when it was made, stays as it is.

Such parameters are in no optimizer, no average over processes or steps, and no checkpoint: making the network gives
them again. Snapshots hold them, since they are needed to use it.
"""

from collections.abc import Iterable, Mapping, Sequence

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
        self.players = players
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

    def counts(self) -> dict[str, int]:
        """How many numbers training may change, by network, whosever turn it is."""
        return {name: sum(p.numel() for p in parameters) for name, parameters in self.parameters.items()}

    def choose(self, player: str) -> None:
        """Let the parameters of a player need gradients, and those of all others none."""
        for name, parameters in self.parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(name in self.players[player])


def without(tensors: Mapping[str, Tensor], frozen: Iterable[str]) -> dict[str, Tensor]:
    """The state of a network without parameters that it makes by itself."""
    left_out = frozenset(frozen)
    return {name: tensor for name, tensor in tensors.items() if name not in left_out}


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], frozen: Iterable[str]) -> None:
    """Load what :func:`without` left, or a whole state.

    Raises:
        RuntimeError: anything else is missing, unknown, or of another shape.
    """
    own = network.state_dict()
    network.load_state_dict({**{name: own[name] for name in frozen}, **tensors})
