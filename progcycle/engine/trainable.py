"""What training may change, and what it never does: see :class:`progcycle.networks.Network`, which says it.

What is frozen is in no optimizer, no average over processes or steps, and no checkpoint: making the network gives it
again. Checkpoints hold its hash. Snapshots hold it, since it is needed to use the network.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from progcycle.errors import UserError
from progcycle.networks import Network


class Trainable:
    """The parameters of some networks that training may change.

    Args:
        networks: by name.
        players: names of the networks that are updated together, by player.

    Attributes:
        parameters: those that may change, by network.

    Raises:
        UserError: a player has none.
    """

    def __init__(self, networks: Mapping[str, Network], players: Mapping[str, Sequence[str]]) -> None:
        self.networks, self.players = networks, players
        self.parameters = {
            name: [p for key, p in network.named_parameters() if key not in network.frozen]
            for name, network in networks.items()
        }
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
            if key not in self.networks[name].frozen
        }

    def counts(self) -> dict[str, int]:
        """How many numbers training may change, by network; it does not depend on which player is being updated."""
        return {name: sum(p.numel() for p in parameters) for name, parameters in self.parameters.items()}

    def choose(self, player: str) -> None:
        """Let the parameters of a player need gradients, and those of all others none."""
        for name, parameters in self.parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(name in self.players[player])


class Weights:
    """Weights and buffers of networks as a part of a checkpoint, without what is frozen.

    Args:
        networks: by name.
    """

    def __init__(self, networks: Mapping[str, Network]) -> None:
        self.networks = networks

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by ``<network>.<parameter>``."""
        return {
            f"{name}.{key}": tensor
            for name, network in self.networks.items()
            for key, tensor in network.state_dict().items()
            if key not in network.frozen
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave, or whole states of networks that have the same frozen.

        Raises:
            ValueError: there is a tensor of no network, or another one of what is frozen.
            RuntimeError: anything else is missing, unknown, or of another shape.
        """
        found: dict[str, dict[str, Tensor]] = {name: {} for name in self.networks}
        for key, tensor in state.items():
            name, _, own = key.partition(".")
            if name not in found:
                raise ValueError(f"there is no network {name}")
            found[name][own] = tensor
        for name, network in self.networks.items():
            frozen = {key: own for key, own in network.state_dict().items() if key in network.frozen}
            for key in frozen.keys() & found[name].keys():
                if not torch.equal(found[name][key].to(frozen[key].device), frozen[key]):
                    raise ValueError(f"{name} had other frozen weights in {key}")
            network.load_state_dict({**frozen, **found[name]})


@contextmanager
def keeping_frozen(networks: Iterable[Network]) -> Iterator[None]:
    """Undo in the end what was copied into frozen parts meanwhile: no checkpoint would hold it."""
    frozen = [tensor for network in networks for tensor in network.frozen_tensors().values()]
    kept = [tensor.detach().clone() for tensor in frozen]
    yield
    for tensor, own in zip(frozen, kept, strict=True):
        tensor.data.copy_(own)


def frozen_hashes(networks: Mapping[str, Network]) -> dict[str, str]:
    """SHA-256 of the names, types, shapes and bytes of all that is frozen, by network; those without are left out.

    Args:
        networks: by name, not on the meta device.
    """
    return {name: _hash(network.frozen_tensors()) for name, network in networks.items() if network.frozen}


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
