"""Activations that are computed again in the backward pass: the same gradients, to the bit, from less memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from progcycle.blocks import Noise
from progcycle.networks import Network, PgganDiscriminator, PgganGenerator, ProgressiveTranslator, Trunk
from progcycle.objectives import zero_centred

CHANNELS = [6, 5, 4]
ALPHA = 0.3


def gradients(network: Network, loss: Callable[[], Tensor], first: int | None) -> dict[str, Tensor]:
    """Of a loss with respect to all parameters that it depends on."""
    for module in network.modules():
        if isinstance(module, Trunk):
            module.recomputed_from = first
    network.zero_grad(set_to_none=True)
    loss().backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def assert_equal(network: Network, loss: Callable[[], Tensor], bf16: bool = False) -> None:
    def computed() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            return loss()

    plain = gradients(network, computed, None)
    assert len(plain) > 5
    for first in (1, 2):
        found = gradients(network, computed, first)
        assert found.keys() == plain.keys()
        assert all(torch.equal(found[name], plain[name]) for name in plain)


@pytest.fixture(params=["float64", "bf16"])
def bf16(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "bf16")


def ready(network: Network, bf16: bool) -> tuple[Any, torch.dtype]:
    torch.manual_seed(0)
    return (network, torch.float32) if bf16 else (network.double(), torch.float64)


@pytest.mark.parametrize("rgb", ["replace", "sum"])
def test_a_generator(rgb: Any, bf16: bool) -> None:
    network, dtype = ready(PgganGenerator(CHANNELS, latent_size=3, rgb=rgb), bf16)
    z = torch.randn(2, 3, dtype=dtype)
    assert_equal(network, lambda: network(z, 2, ALPHA).square().sum(), bf16)


def test_a_translator_with_skips_in_a_cycle(bf16: bool) -> None:
    network, dtype = ready(ProgressiveTranslator(CHANNELS, residual_blocks=1, skips=True), bf16)
    x = torch.rand(2, 3, 16, 16, dtype=dtype)
    assert_equal(network, lambda: network(network(x, 2, ALPHA), 2, ALPHA).square().sum(), bf16)


@pytest.mark.parametrize("fused", [False, True])
def test_a_discriminator_with_its_penalty_and_its_noise(fused: bool, bf16: bool) -> None:
    """R1 is differentiated twice, outside autocast; noise must be the same when layers are computed again."""
    network, dtype = ready(PgganDiscriminator(CHANNELS, hidden=5, fused=fused), bf16)
    x = torch.rand(4, 3, 16, 16, dtype=dtype)
    normals = torch.randn(4, network.noise_size(2), dtype=dtype)

    def loss() -> Tensor:
        judged = network(x, 2, ALPHA, noise=Noise(normals, torch.tensor(0.4, dtype=dtype), "prop"))
        return judged.sum() + zero_centred(lambda pictures: network(pictures, 2, ALPHA), x, 2.0)

    assert_equal(network, loss, bf16)


def test_less_is_kept_for_the_backward_pass() -> None:
    """Bytes that live between the two passes, beside the input: of a decoder of two stages, the inputs of each."""
    from progcycle.engine.stage_memory import LiveBytes

    network = PgganGenerator(CHANNELS, latent_size=3)
    trunk = network.decoder
    x = torch.rand(2, 6, 4, 4)
    kept = []
    for first in (None, 1):
        trunk.recomputed_from = first
        with LiveBytes() as live:
            picture = trunk(x, 2, 1.0)
            kept.append(live.now)
            del picture
    picture, ends = 2 * 3 * 16 * 16, 2 * 5 * 8 * 8 + 2 * 4 * 16 * 16
    assert kept[1] <= 4 * (picture + ends)
    assert kept[0] > 3 * kept[1]
