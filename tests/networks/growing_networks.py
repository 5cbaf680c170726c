"""Every growing network of the registries in the variants of its options, small, with random weights everywhere."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from progcycle.networks import AUTOENCODERS, DISCRIMINATORS, GENERATORS, TRANSLATORS

STAGES = 4
# Constructor arguments by name. A new network that asks for another one needs a line here.
VALUES: dict[str, Any] = {
    "channels": [10, 8, 6, 4],
    "latent_size": 7,
    "base_resolution": 4,
    "hidden": 9,
    "residual_blocks": 1,
}
# Each of these by itself, and the last ones together ...
OPTIONS: dict[str, list[Any]] = {
    "rgb": ["replace", "sum"],
    "predict": ["picture", "change"],
    "skips": [False, True],
    "head": ["patch", "dense"],
    "stddev_group": [2, 0],
}
# ... and each of these with the first value of the others, but with every head.
EXTRAS: list[dict[str, Any]] = [
    *({"normalize": kind} for kind in ("pixel", "batch", "instance", "layer", "none")),
    {"equalized": False, "slope": 0.3, "epsilon": 1e-2},
    {"convs": 1},
    {"rgb_kernel": 3},
    {"rgb": "features", "channels": (6, 6, 6, 6)},
    {"rgb": "features", "channels": (6, 6, 6, 6), "rgb_kernel": 1},
    {"rgb": "features", "channels": (6, 6, 6, 6), "convs": 1, "fused": True},
    {"tanh": True},
    {"bounded": True},
    {"fused": True},
    {"fused": True, "convs": 1, "rgb": "sum"},
    {"classes": 3},
    {"averaging": "none"},
    {"averaging": "group2", "stddev_group": "batch", "gather": True},
    {"stddev_group": 0, "kernels": 5, "dimensions": 2},
    {"initialization": "normal", "equalized": False},
    {"latents": 5},
    {"spectral_norm": True},
    {"spectral_norm": True, "fused": True, "normalize": "layer"},
    {"convs": 1, "stddev_group": 2, "averaging": "spatial", "kernels": 5, "normalize": "layer"},
]
REGISTRIES = {
    "generator": GENERATORS,
    "translator": TRANSLATORS,
    "autoencoder": AUTOENCODERS,
    "discriminator": DISCRIMINATORS,
}


@dataclass(frozen=True)
class Case:
    """One network to test."""

    kind: str
    name: str
    options: dict[str, Any]
    square: bool

    def value(self, option: str) -> Any:
        """An option, as given or by default; None where the network has no such option."""
        parameter = inspect.signature(REGISTRIES[self.kind][self.name]).parameters.get(option)
        return self.options.get(option, parameter and parameter.default)

    def fresh(self, **changes: Any) -> nn.Module:
        """The network as training begins with it."""
        network_class = REGISTRIES[self.kind][self.name]
        known = {k: v for k, v in VALUES.items() if k in inspect.signature(network_class).parameters}
        torch.manual_seed(1)
        return network_class(**(known | self.options | changes))

    def build(self, **changes: Any) -> nn.Module:
        """The network with nothing left at zero, where a test could not fail."""
        network = self.fresh(**changes)
        for parameter in network.parameters():
            nn.init.normal_(parameter)
        # In training mode spectral norm moves its estimate a little in every pass.
        return network.eval() if self.options.get("spectral_norm") else network

    def run(self, network: nn.Module, x: Tensor, stage: int, alpha: float) -> Tensor:
        """The output; with classes, latents get labels in turn, and both kinds of logits come side by side."""
        classes = self.options.get("classes", 0)
        if classes and self.kind == "generator":
            labels = torch.eye(classes)[torch.arange(len(x)) % classes]
            return network(x, stage, alpha, labels)
        latents = self.options.get("latents", 0)
        if latents:
            return network(x, stage, alpha, torch.arange(1.0, 1 + len(x) * latents).sin().reshape(len(x), latents))
        out = network(x, stage, alpha)
        return torch.cat([out[0][:, None], out[1]], dim=1) if classes else out

    def inputs(self, stage: int, channels: int = 3, batch: int = 4) -> Tensor:
        """Latents, or pictures of the stage; 16x24 at the last one unless the network needs its own square grid."""
        torch.manual_seed(2)
        if self.kind == "generator":
            return torch.randn(batch, VALUES["latent_size"])
        height, width = (4, 4) if self.square else (2, 3)
        return torch.rand(batch, channels, height << stage, width << stage) * 2 - 1

    def __str__(self) -> str:
        return "-".join([self.kind, self.name, *(f"{k}={v}" for k, v in self.options.items())])


def _one_by_one(values: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    first, last = ({option: kinds[i] for option, kinds in values.items()} for i in (0, -1))
    yield first
    yield from (first | {option: kind} for option, kinds in values.items() for kind in kinds[1:])
    yield last


def _variants(parameters: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Everything above that a network with these parameters takes."""
    asked = {option: values for option, values in OPTIONS.items() if option in parameters}
    yield from _one_by_one(asked)
    first = {option: values[0] for option, values in asked.items()}
    for extra in EXTRAS:
        if extra.keys() <= set(parameters):
            yield from (
                (first | {"head": head} | extra for head in asked["head"]) if "head" in asked else (first | extra,)
            )


def _cases() -> list[Case]:
    cases = []
    for kind, registry in REGISTRIES.items():
        for name, network_class in registry.items():
            if network_class.sizes != "growing":
                continue  # test_classic.py has them
            parameters = inspect.signature(network_class).parameters
            for options in _variants(parameters):
                if options.get("kernels") and options.get("head") == "patch":
                    continue  # refused
                if options.get("rgb") == "features" and Case(kind, name, options, True).value("rgb_kernel") == 3:
                    continue  # refused
                # A dense head fits its base grid only; a network with `hidden` but no choice of head has that one.
                square = ("hidden" in parameters and options.get("head", "dense") == "dense") or kind == "autoencoder"
                cases.append(Case(kind, name, options, square))
    return _distinct(cases, *{option for case in cases for option in case.options})


def _distinct(cases: Iterable[Case], *options: str) -> list[Case]:
    """The first of the cases that agree in these options."""
    found: dict[tuple[Any, ...], Case] = {}
    for case in cases:
        found.setdefault((case.kind, case.name, *(case.value(option) for option in options)), case)
    return list(found.values())


CASES = _cases()


def of_kind(*kinds: str, reads: Iterable[str] | None = None, **wanted: Any) -> list[Any]:
    """Test parameters: the cases of these kinds with these options.

    Of those that differ only in options which what is tested does not read, one: ``reads`` names those that it does.
    """
    fits = [c for c in CASES if c.kind in kinds and wanted.items() <= c.options.items()]
    return [pytest.param(case, id=str(case)) for case in (fits if reads is None else _distinct(fits, *reads))]
