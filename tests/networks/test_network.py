"""What a network freezes is settled when it is made, and holds whatever mode it is set to and whosever turn it is."""

import copy
import inspect

import pytest
import torch
from torch import Tensor, nn

from progcycle.networks import Network


class Features(nn.Module):
    """A layer and batch norm, one without parameters, and a fixed projection."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.plain = nn.BatchNorm2d(2, affine=False)
        self.register_buffer("projection", torch.randn(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,cd->ndhw", self.plain(self.norm(self.conv(x))), self.projection)


class Judge(Network):
    """Frozen features by ``requires_grad``, and a head with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = (
            Features().requires_grad_(False),
            nn.Sequential(nn.Conv2d(2, 1, 1), nn.BatchNorm2d(1)),
        )

    def forward(self, x: Tensor, stage: int = 0, alpha: float = 1.0) -> Tensor:
        y: Tensor = self.head(self.features(x))
        return y


class Half(Network):
    """Its first two layers are left out by the method alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))

    def trainable_parameters(self) -> list[nn.Parameter]:
        return list(self.layers[2:].parameters())


class Projected(Network):
    """A part that has buffers only, which the network names."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(1, affine=False), nn.Conv2d(1, 1, 1)

    def frozen_modules(self) -> list[nn.Module]:
        return [*super().frozen_modules(), self.norm]


STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
FEATURES = {
    *(f"features.{name}" for name in ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "projection")),
    *(f"features.{norm}.{name}" for norm in ("norm", "plain") for name in STATISTICS),
}


@pytest.mark.parametrize(
    ("kind", "frozen"),
    [
        (Judge, FEATURES),
        (
            Half,
            {f"layers.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")}
            | {f"layers.1.{name}" for name in STATISTICS},
        ),
        (Projected, {f"norm.{name}" for name in STATISTICS}),
    ],
)
def test_frozen_are_the_parameters_left_out_and_the_buffers_of_their_parts(
    kind: type[Network], frozen: set[str]
) -> None:
    network = kind()
    assert network.frozen == frozen == network.frozen_tensors().keys()
    needs = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert needs == {name for name, _ in network.named_parameters()} - frozen
    rest = {**dict(network.named_parameters()), **dict(network.named_buffers())}.keys() - frozen
    assert len(network.changing_tensors()) == len(rest) > 0


@pytest.mark.parametrize("kind", [Judge, Half, Projected])
def test_frozen_parts_stay_in_eval_mode_and_their_statistics_stay(kind: type[Network]) -> None:
    network = kind()
    states = [network, network.eval().train(), copy.deepcopy(network).train(), nn.Sequential(network).train()[0]]
    for each in states:
        modes = {name.rpartition(".")[0]: False for name in each.frozen}
        assert {name: each.get_submodule(name).training for name in modes} == modes
        assert each.training
    before = {name: tensor.clone() for name, tensor in network.named_buffers()}
    if not isinstance(network, Projected):
        body = network if isinstance(network, Judge) else network.layers
        body(torch.randn(3, 2 if isinstance(network, Judge) else 1, 2, 2))
        moved = {name for name, tensor in network.named_buffers() if not torch.equal(tensor, before[name])}
        assert moved == before.keys() - network.frozen, "those of the head move"


def test_it_is_settled_when_made_whosever_turn_it_is() -> None:
    network = Judge()
    network.requires_grad_(False)  # as while another player trains
    assert network.train().head.training
    assert network.frozen == FEATURES
    assert copy.deepcopy(network).frozen == FEATURES


def test_a_network_inside_another_stays_as_it_is() -> None:
    class Both(Network):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = Half(), nn.BatchNorm2d(1)

    network = Both().train()
    assert network.frozen == {f"one.{name}" for name in Half().frozen}
    assert (network.one.layers[1].training, network.one.layers[3].training, network.other.training) == (
        False,
        True,
        True,
    )


def test_a_network_may_be_frozen_as_a_whole() -> None:
    class Whole(Network):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def trainable_parameters(self) -> list[nn.Parameter]:
            return []

    network = Whole().train()
    assert not network.training
    assert not network.norm.training
    assert network.changing_tensors() == []


def test_constructors_are_as_they_were_written() -> None:
    class Made(Half):
        def __init__(self, width: int, *, depth: int = 2) -> None:
            super().__init__()
            assert self.frozen == frozenset(), "this one goes on"
            self.more = nn.Linear(width, depth).requires_grad_(False)

    class Same(Made):
        pass

    for kind in (Made, Same):
        assert str(inspect.signature(kind)) == "(width: int, *, depth: int = 2) -> None"
        assert kind(3).frozen == Half().frozen | {"more.weight", "more.bias"}


def test_a_part_that_the_constructor_set_to_eval_mode_stays_so() -> None:
    class Quiet(Network):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1).eval()

    network = Quiet()
    assert not network.norm.training
    assert network.train().norm.training, "it is not frozen"


def test_a_part_cannot_be_frozen_and_trained() -> None:
    class Both(Half):
        def frozen_modules(self) -> list[nn.Module]:
            return [self.layers]

    with pytest.raises(ValueError, match=r"^Both: frozen_modules\(\) has trainable parameters$"):
        Both()
