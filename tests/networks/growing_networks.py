"""Every entry of the registries in every variant of its options, small, with random weights everywhere."""

import inspect
import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from progcycle.networks import DISCRIMINATORS, GENERATORS, TRANSLATORS

STAGES = 4
# Constructor arguments by name. A new network that asks for another one needs a line here.
VALUES: dict[str, Any] = {
    "channels": [10, 8, 6, 4],
    "latent_size": 7,
    "base_resolution": 4,
    "hidden": 9,
    "residual_blocks": 1,
}
OPTIONS: dict[str, list[Any]] = {
    "rgb": ["replace", "sum"],
    "predict": ["picture", "change"],
    "skips": [False, True],
    "head": ["patch", "dense"],
    "stddev_group": [0, 2],
}
REGISTRIES = {"generator": GENERATORS, "translator": TRANSLATORS, "discriminator": DISCRIMINATORS}


@dataclass(frozen=True)
class Case:
    """One network to test."""

    kind: str
    name: str
    options: dict[str, Any]
    square: bool

    def build(self, **changes: Any) -> nn.Module:
        """The network; nothing in it is left at zero, where a test could not fail."""
        network_class = REGISTRIES[self.kind][self.name]
        known = {k: v for k, v in VALUES.items() if k in inspect.signature(network_class).parameters}
        torch.manual_seed(1)
        network = network_class(**known, **self.options, **changes)
        for parameter in network.parameters():
            nn.init.normal_(parameter)
        return network

    def inputs(self, stage: int, channels: int = 3, batch: int = 4) -> Tensor:
        """Latents, or pictures of the stage; 16x24 at the last one unless the network needs its own square grid."""
        torch.manual_seed(2)
        if self.kind == "generator":
            return torch.randn(batch, VALUES["latent_size"])
        height, width = (4, 4) if self.square else (2, 3)
        return torch.rand(batch, channels, height << stage, width << stage) * 2 - 1

    def __str__(self) -> str:
        return "-".join([self.kind, self.name, *(f"{k}={v}" for k, v in self.options.items())])


def _cases() -> list[Case]:
    cases = []
    for kind, registry in REGISTRIES.items():
        for name, network_class in registry.items():
            parameters = inspect.signature(network_class).parameters
            asked = [option for option in OPTIONS if option in parameters]
            for values in itertools.product(*(OPTIONS[option] for option in asked)):
                options = dict(zip(asked, values, strict=True))
                # A dense head fits its base grid only; a network with `hidden` but no choice of head has that one.
                square = "hidden" in parameters and options.get("head", "dense") == "dense"
                cases.append(Case(kind, name, options, square))
    return cases


CASES = _cases()


def of_kind(*kinds: str, **wanted: Any) -> list[Any]:
    """Test parameters: the cases of these kinds with these options."""
    fits = (c for c in CASES if c.kind in kinds and wanted.items() <= c.options.items())
    return [pytest.param(case, id=str(case)) for case in fits]
