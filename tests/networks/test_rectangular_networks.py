"""Networks for rectangles, and for bases other than powers of two: shapes and numbers of weights worked out by hand."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from progcycle.blocks import downsample2x, upsample2x
from progcycle.blocks.discriminator_augment import NUMBERS, TOTAL, augment
from progcycle.blocks.equalized import EqualizedConv2d
from progcycle.errors import UserError
from progcycle.networks import AUTOENCODERS, DECODERS, DISCRIMINATORS, GENERATORS, TRANSLATORS, Network
from progcycle.recipe import validate
from progcycle.tasks import TASKS

CHANNELS = [6, 5, 4]
GRID = (3, 5)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def conv(narrow: int, wide: int, kernel: int = 9) -> int:
    return narrow * wide * kernel + wide


@torch.no_grad()
def test_pggans_generator_paints_its_grid_doubled() -> None:
    network = GENERATORS["pggan"](CHANNELS, latent_size=7, base_resolution=list(GRID))
    dense = 7 * 6 * 3 * 5 + 6  # no bias of its own, but one for each of the 6 maps
    blocks = conv(6, 6) + conv(6, 5) + conv(5, 5) + conv(5, 4) + conv(4, 4)
    to_rgb = sum(conv(c, 3, 1) for c in CHANNELS)
    assert count(network) == dense + blocks + to_rgb
    z = torch.randn(2, 7)
    for stage in range(3):
        assert network(z, stage, 1.0).shape == (2, 3, 3 << stage, 5 << stage)
    assert torch.equal(network(z, 2, 0.0), upsample2x(network(z, 1, 1.0)))


@torch.no_grad()
def test_the_dense_head_sees_its_grid_at_once() -> None:
    network = DISCRIMINATORS["pggan"](CHANNELS, hidden=8, base_resolution=GRID, stddev_group=2)
    blocks = conv(4, 4) + conv(4, 5) + conv(5, 5) + conv(5, 6)
    head = conv(7, 6) + conv(6, 8, 3 * 5) + conv(8, 1, 1)  # a map more for the statistic; 3x5 pixels of 6 maps
    assert count(network) == sum(conv(3, c, 1) for c in CHANNELS) + blocks + head
    x = torch.randn(4, 3, 12, 20)
    assert network(x, 2, 1.0).shape == (4,)
    assert torch.equal(network(x, 2, 0.0), network(downsample2x(x), 1, 1.0))
    turned = x.transpose(2, 3)
    with pytest.raises(RuntimeError):
        network(turned, 2, 1.0)


def test_the_variance_of_a_dense_layer_counts_its_grid() -> None:
    torch.manual_seed(0)
    kernel = EqualizedConv2d(50, 400, (3, 5), padding=0)
    outputs = kernel(torch.randn(8, 50, 3, 5))
    assert outputs.shape == (8, 400, 1, 1)
    assert float(outputs.detach().var()) == pytest.approx(2, rel=0.1)  # He et al. 2015
    network = GENERATORS["pggan"]([64], latent_size=512, base_resolution=(3, 5))
    # The paper's gain of sqrt(2) / 4 at 4x4 is sqrt(2 / pixels): for 15 pixels it is sqrt(2 / 15).
    assert network.dense.scale == pytest.approx((2 / 15 / 512) ** 0.5)


@torch.no_grad()
def test_autoencoders_and_decoders_at_a_rectangle() -> None:
    x = torch.rand(2, 3, 12, 20) * 2 - 1
    network = AUTOENCODERS["progressive"](CHANNELS, latent_size=7, base_resolution=GRID)
    assert network(x, 2, 1.0).shape == x.shape
    assert network.dense.weight.shape == (7, 6 * 15)
    assert torch.equal(network(x, 2, 0.0), upsample2x(network(downsample2x(x), 1, 1.0)))
    painter = DECODERS["progressive"](CHANNELS, latent_size=7, base_resolution=GRID)
    assert painter(torch.randn(2, 7), 2, 0.5).shape == (2, 3, 12, 20)


# Where networks of one size begin or end: (resolution, grid, doublings).
ENDS = [((32, 48), (4, 6), 3), (96, (6, 6), 4), ((80, 112), (5, 7), 4), (64, (4, 4), 4)]


@pytest.mark.parametrize("name", ["dcgan", "dcgan_theano", "wgan_gp", "wgan_gp_residual", "mlp"])
@pytest.mark.parametrize(("resolution", "grid", "doublings"), ENDS)
@torch.no_grad()
def test_networks_of_one_size(name: str, resolution: Any, grid: tuple[int, int], doublings: int) -> None:
    height, width = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    generator = GENERATORS[name](resolution=resolution, latent_size=5, filters=2).eval()
    critic = DISCRIMINATORS[name](resolution=resolution, filters=2).eval()
    pictures = generator(torch.randn(2, 5))
    assert pictures.shape == (2, 3, height, width)
    assert critic(pictures).numel() == 2
    if name == "mlp":
        assert generator.last.out_features == 3 * height * width
        return
    assert (grid[0] << doublings, grid[1] << doublings) == (height, width)
    weights = dict(critic.named_parameters())["logit.weight"]
    assert weights.numel() % (grid[0] * grid[1]) == 0
    wide = weights.numel() // (grid[0] * grid[1])
    assert wide == 2 * (1 << (doublings - 1) if "residual" not in name else min(1 << (doublings - 1), 8))


@pytest.mark.parametrize("resolution", [(16, 24), 24, 32])
@torch.no_grad()
def test_began_begins_with_8_to_15_places(resolution: Any) -> None:
    height, width = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    network = AUTOENCODERS["began"](resolution, filters=3, latent_size=4)
    x = torch.rand(2, 3, height, width)
    assert network(x, 0, 1.0).shape == x.shape
    places = {(16, 24): 8 * 12, 24: 12 * 12, 32: 8 * 8}[resolution]
    assert network.decoder.dense.out_features == 3 * places
    assert DECODERS["began"](resolution, filters=3, latent_size=4)(torch.randn(2, 4), 0, 1.0).shape == x.shape


@torch.no_grad()
def test_a_u_net_halves_as_long_as_sides_are_even() -> None:
    for resolution, halvings in (([32, 48], 4), (96, 5), (64, 6)):
        network = {"generator": {"name": "unet", "filters": 2}, "discriminator": {"name": "patchgan", "layers": 1}}
        made = task("cyclegan", resolution=resolution, network=network)
        assert made.specs["gen_ab"]["arguments"]["halvings"] == halvings
        height, width = resolution if isinstance(resolution, list) else (resolution, resolution)
        x = torch.rand(2, 3, height, width)
        assert made.networks["gen_ab"](x).shape == x.shape


def task(kind: str, **keys: Any) -> Any:
    data: Mapping[str, str] = {"root": "x"} if kind == "cyclegan" else {"path": "x"}
    return TASKS[kind](validate({"task": kind, "data": data, **keys}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "keys", "words"),
    [
        ("pggan", {"network": {"generator": "lapgan_mlp"}}, r"network\.generator: the network 'lapgan_mlp' works on"),
        (
            "pggan",
            {"network": {"discriminator": "lapgan"}},
            r"network\.discriminator: the network 'lapgan' works on sq",
        ),
        (
            "pggan",
            {"objective": {"augment": {"policy": ["flip", "rotate90"]}}},
            r"objective\.augment\.policy: rotate90 makes pictures of 64x96 px those of another shape; leave it out",
        ),
        (
            "cyclegan",
            {"resolution": [50, 70], "network": {"generator": "unet", "base_resolution": 50}},
            r"network\.generator\.name: unet halves pictures twice at least, which leaves a rest at 50x70 px",
        ),
        (
            "cyclegan",
            {"objective": {"cycle": {"scales": 5}}},
            r"objective\.cycle\.scales: pictures of 8x12 px, where training starts, can be compared at 3 resolutions",
        ),
        (
            "cyclegan",
            {"resolution": 80, "network": {"base_resolution": 10, "generator": "resnet"}},
            r"schedule\.start_resolution: the network 'resnet' of network\.generator needs sides of multiples of 4 px, "
            r"and 10 px are none; raise it\.",
        ),
        (
            "pggan",
            {
                "resolution": 200,
                "network": {"base_resolution": 200, "generator": "dcgan", "discriminator": "dcgan"},
            },
            r"network\.generator\.name: this network halves pictures 5 times, which leaves a rest at 200 px; choose "
            r"another, or a resolution of multiples of 32 px",
        ),
    ],
)
def test_what_cannot_take_a_shape_says_so(kind: str, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        task(kind, **{"resolution": [64, 96], **keys})


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "rotate90"])
def test_augmentations_of_rectangles(name: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(3, 3, 8, 12) * 2 - 1
    numbers = torch.rand(3, TOTAL)
    assert augment(x, numbers, 1.0, [name]).shape == x.shape
    with pytest.raises(ValueError, match="rotate90 needs square pictures, not 12 x 8 px"):
        augment(x, numbers, 1.0, [name, "rotate90"])


@torch.no_grad()
def test_a_turn_of_a_rectangle_keeps_angles() -> None:
    """A round spot in the middle stays as it is, whatever the angle; around it stand its reflections."""
    rows, columns = torch.meshgrid(torch.arange(31.0) - 15, torch.arange(61.0) - 30, indexing="ij")
    spot = (-(rows**2 + columns**2) / 32).exp()[None, None]
    for u in (0.1, 0.37, 0.8):
        numbers = torch.full((1, TOTAL), u)
        turned = augment(spot, numbers, 1.0, ["rotate"])
        assert not torch.equal(turned, spot)
        assert float((turned - spot)[..., 15 - 11 : 15 + 12, 30 - 11 : 30 + 12].abs().max()) < 1 / 64  # of bilinear


def patches(network: Network, x: Tensor) -> torch.Size:
    return network(x, 2, 1.0).shape


@torch.no_grad()
def test_patch_heads_and_translators_take_any_shape() -> None:
    x = torch.rand(2, 3, 12, 20)
    judge = DISCRIMINATORS["progressive"](CHANNELS, hidden=4, head="patch")
    assert patches(judge, x) == (2, 1, 3, 5)
    translator = TRANSLATORS["progressive"](CHANNELS, residual_blocks=1)
    assert translator(x, 2, 1.0).shape == x.shape
