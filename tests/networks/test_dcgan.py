"""The networks of DCGAN, WGAN and WGAN-GP: published sizes, weights and layers, and numpy in float64 beside them."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from progcycle.networks import (
    DISCRIMINATORS,
    GENERATORS,
    DcganDiscriminator,
    DcganGenerator,
    DenseDiscriminator,
    DenseGenerator,
    Network,
    ResidualCritic,
    ResidualGenerator,
    TheanoDcganDiscriminator,
    TheanoDcganGenerator,
    WganGpCritic,
    WganGpGenerator,
)
from progcycle.networks.dcgan import widths
from progcycle.rng import latents

Array = Any
# Counted from the published code, layer by layer.
SIZES: dict[str, tuple[Callable[[], Network], int]] = {
    "dcgan, G": (DcganGenerator, 3_576_704),
    "dcgan, D": (DcganDiscriminator, 2_765_568),
    "theano, G": (TheanoDcganGenerator, 18_885_760),
    "theano, D": (TheanoDcganDiscriminator, 17_232_768),
    "WGAN-GP for CIFAR-10, G": (WganGpGenerator, 5_179_907),
    "WGAN-GP for CIFAR-10, D": (WganGpCritic, 4_114_689),
    "half as wide, G": (lambda: WganGpGenerator(filters=64), 1_565_955),
    "half as wide, D": (lambda: WganGpCritic(filters=64), 1_033_345),
    "WGAN-GP for MNIST, G": (lambda: WganGpGenerator(filters=64, image_channels=1, normalization="none"), 1_554_177),
    "WGAN-GP for MNIST, D": (lambda: WganGpCritic(filters=64, image_channels=1), 1_030_145),
    "WGAN-GP for 64 px, G": (ResidualGenerator, 8_540_483),
    "WGAN-GP for 64 px, D": (ResidualCritic, 7_491_841),
    "WGAN, dense, G": (lambda: DenseGenerator(64), 813_504),
    "WGAN, dense, D": (lambda: DenseDiscriminator(64), 794_881),
    "toy, G": (lambda: DenseGenerator(1, image_channels=2, latent_size=2, filters=512), 527_874),
    "toy, D": (lambda: DenseDiscriminator(1, image_channels=2, filters=512), 527_361),
}


@pytest.mark.parametrize("name", SIZES)
def test_numbers_of_parameters_are_those_of_the_published_code(name: str) -> None:
    make, expected = SIZES[name]
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in make().parameters()) == expected


@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_there_is_a_layer_fewer_for_each_halving_of_the_pictures(side: int) -> None:
    assert widths(64, side) == {8: [64], 16: [128, 64], 32: [256, 128, 64], 64: [512, 256, 128, 64]}[side]
    for name in ("dcgan", "dcgan_theano", "wgan_gp", "wgan_gp_residual", "mlp"):
        generator: Any = GENERATORS[name](resolution=side, latent_size=6, filters=4, image_channels=1)
        pictures = generator(torch.randn(2, 6))
        assert pictures.shape == (2, 1, side, side)
        assert DISCRIMINATORS[name](resolution=side, filters=4, image_channels=1)(pictures).shape == (2,)


def _deviation(weight: Tensor) -> float:
    return float(weight.detach().square().mean().sqrt())


def test_weights_of_dcgan_are_drawn_as_published() -> None:
    torch.manual_seed(0)
    networks: list[nn.Module] = [DcganGenerator(32), DcganDiscriminator(32), TheanoDcganGenerator(32, filters=64)]
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert float(module.weight.detach().mean()) == pytest.approx(1, abs=0.01)
                assert 0.01 < float(module.weight.detach().std()) < 0.03
                assert not module.bias.any()
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert _deviation(module.weight) == pytest.approx(0.02, rel=0.1)
                assert module.bias is None


def test_weights_of_wgan_gp_are_drawn_as_published() -> None:
    """Uniform, of deviation sqrt(4 / (fan_in + fan_out)) in front of a ReLU, and else sqrt(2 / (fan_in + fan_out))."""
    torch.manual_seed(0)
    generator, critic = WganGpGenerator(filters=32), WganGpCritic(filters=32)
    residual = ResidualCritic(32, filters=16)
    expected = [
        (generator.stem.weight, 2 / (128 + 16 * 128)),
        (generator.body[0].weight, 4 / (128 * 25 / 4 + 64 * 25)),
        (critic.body[2].weight, 4 / (32 * 25 + 64 * 25 / 4)),
        (critic.logit.weight, 2 / (16 * 128 + 1)),
        (residual.from_rgb.weight, 2 / (3 * 9 + 16 * 9)),
        (residual.blocks[1].shortcut.weight, 2 / (32 + 64)),
        (residual.blocks[1].first.weight, 4 / (32 * 9 + 32 * 9)),
        (residual.blocks[1].second.weight, 4 / (32 * 9 + 64 * 9)),
    ]
    for weight, variance in expected:
        assert _deviation(weight) == pytest.approx(math.sqrt(variance), rel=0.05)
        assert float(weight.detach().abs().max()) <= math.sqrt(3 * variance) * (1 + 1e-6)
    dense = DenseGenerator(1, 2, 2, filters=256, initialization="he")
    assert _deviation(dense.body[2].weight) == pytest.approx(math.sqrt(2 / 256), rel=0.05)
    assert _deviation(dense.last.weight) == pytest.approx(math.sqrt(2 / 258), rel=0.15)
    assert not any(bias.any() for bias in (critic.logit.bias, residual.from_rgb.bias, dense.last.bias))


# --- numpy, from the definitions -------------------------------------------------------------------------------


def _relu(x: Array, slope: float = 0.0) -> Array:
    return np.where(x > 0, x, slope * x)


def _conv(x: Array, weight: Array, padding: int) -> Array:
    """Stride 2.  # [N, C, H, W], [O, C, k, k] -> [N, O, H / 2, W / 2]"""
    k, half = weight.shape[2], x.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (padding, k), (padding, k)))
    out = np.zeros((len(x), len(weight), half, half))
    for i in range(half):
        for j in range(half):
            out[:, :, i, j] = np.einsum("ncuv,ocuv->no", padded[:, :, 2 * i : 2 * i + k, 2 * j : 2 * j + k], weight)
    return out


def _spread(x: Array, weight: Array, padding: int) -> Array:
    """Transposed, stride 2: each place is spread over a kernel.  # [N, C, H, W], [C, O, k, k] -> [N, O, 2 H, 2 W]"""
    k, side = weight.shape[2], x.shape[2]
    out = np.zeros((len(x), weight.shape[1], 2 * side + 2 * k, 2 * side + 2 * k))
    for i in range(side):
        for j in range(side):
            out[:, :, 2 * i : 2 * i + k, 2 * j : 2 * j + k] += np.einsum("nc,couv->nouv", x[:, :, i, j], weight)
    return out[:, :, padding : padding + 2 * side, padding : padding + 2 * side]


def _normed(x: Array, norm: Any, epsilon: float) -> Array:
    """Batch norm by the batch; [N, C] or [N, C, H, W], each column or channel by itself."""
    over = (0,) if x.ndim == 2 else (0, 2, 3)
    shape = (1, -1) if x.ndim == 2 else (1, -1, 1, 1)
    y = (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + epsilon)
    return y * _array(norm.weight).reshape(shape) + _array(norm.bias).reshape(shape)


def _array(tensor: Any) -> Array:
    return tensor.detach().double().numpy()


def _shaken(network: Any) -> Any:
    torch.manual_seed(5)
    for parameter in network.parameters():
        parameter.data.add_(0.2 * torch.randn(parameter.shape))
    return network.double()


def _painted(network: Any, z: Array) -> Array:
    """The generators of 16 px of both lineages, normalised by this batch, from their definitions."""
    theano = isinstance(network.stem, nn.Linear)
    epsilon, padding = (1e-8, 2) if theano else (1e-5, 1)
    if theano:
        h = _relu(_normed(z @ _array(network.stem.weight).T, network.stem_norm[0], epsilon))
        h = h.reshape(len(z), -1, 4, 4)
    else:
        h = np.einsum("nc,couv->nouv", z, _array(network.stem.weight))
        h = _relu(_normed(h, network.stem_norm[0], epsilon))
    h = _relu(_normed(_spread(h, _array(network.body[0].weight), padding), network.body[1], epsilon))
    return np.tanh(_spread(h, _array(network.to_rgb.weight), padding))


LINEAGES = pytest.mark.parametrize("kind", [DcganGenerator, TheanoDcganGenerator], ids=["torch", "theano"])


@LINEAGES
def test_generators_are_those_of_the_definition(kind: Any) -> None:
    """In the authors' code each unit of the dense layer has a mean of its own; in Torch each feature map has one."""
    network = _shaken(kind(16, 2, latent_size=5, filters=3))
    z = latents(1, "z", range(6), 5, "normal").double()
    np.testing.assert_allclose(_array(network(z)), _painted(network, z.numpy()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [DcganDiscriminator, TheanoDcganDiscriminator], ids=["torch", "theano"])
def test_discriminators_are_those_of_the_definition(kind: Any) -> None:
    network = _shaken(kind(16, 2, filters=3))
    theano = kind is TheanoDcganDiscriminator
    epsilon, padding = (1e-8, 2) if theano else (1e-5, 1)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 2, 16, 16))
    h = _relu(_conv(x, _array(network.body[0].weight), padding), 0.2)
    h = _relu(_normed(_conv(h, _array(network.body[2].weight), padding), network.body[3], epsilon), 0.2)
    expected = h.reshape(4, -1) @ _array(network.logit.weight).reshape(1, -1).T
    np.testing.assert_allclose(_array(network(torch.from_numpy(x))), expected[:, 0], rtol=1e-9, atol=1e-9)


def test_a_residual_block_is_that_of_the_definition() -> None:
    """Down: mean pooling behind the second convolution, and in front of the 1x1 of the shortcut; layer norm."""
    network = _shaken(ResidualCritic(8, 2, filters=3))
    block, x = network.blocks[0], torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def layer(h: Tensor, norm: Any) -> Tensor:
        mean, spread = h.mean((1, 2, 3), keepdim=True), h.var((1, 2, 3), keepdim=True, correction=0)
        y = (h - mean) / (spread + 1e-5).sqrt()
        return (y * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()

    def pooled(h: Tensor) -> Tensor:
        return (h[..., ::2, ::2] + h[..., 1::2, ::2] + h[..., ::2, 1::2] + h[..., 1::2, 1::2]) / 4

    inner = layer(block.first(layer(x, block.norms[0][0])), block.norms[1][0])
    expected = pooled(block.second(inner)) + block.shortcut(pooled(x))
    torch.testing.assert_close(block(x), expected)
    assert block.first.bias is None


# --- statistics where pictures are painted --------------------------------------------------------------------------


@LINEAGES
@torch.no_grad()
def test_with_statistics_of_a_batch_a_picture_is_that_of_the_fixed_batch(kind: Any) -> None:
    """Painting the fixed batch itself gives what training gives of it, and no picture depends on its neighbours."""
    options = {"statistics": "batch", "reference_batch": 7, "distribution": "uniform"}
    network = _shaken(kind(16, 2, latent_size=5, filters=3, **options))
    fixed = latents(0, "latent/reference", range(7), 5, "uniform").double()
    assert network.frozen == {"reference.rows"}
    assert float(fixed.abs().max()) <= 1
    expected = _painted(network, fixed.numpy())
    network.eval()
    np.testing.assert_allclose(_array(network(fixed)), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(_array(network(fixed[2:3])), expected[2:3], rtol=1e-6, atol=1e-6)
    assert not any(name.endswith("running_mean") for name, _ in network.named_buffers())


@torch.no_grad()
def test_with_running_statistics_a_picture_is_that_of_their_averages() -> None:
    network = DcganGenerator(8, 2, latent_size=5, filters=3)
    for step in range(3):
        network(latents(step, "z", range(6), 5, "normal"))
    network.eval()
    z, norm = latents(9, "z", range(2), 5, "normal"), network.stem_norm[0]
    assert int(norm.num_batches_tracked) == 3
    h = network.stem(z[:, :, None, None])
    h = (h - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()
    h = (h * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()
    torch.testing.assert_close(network(z), network.to_rgb(h).tanh())
    assert float((network(z) - network(z + 1)).abs().max()) > 0


@torch.no_grad()
def test_the_fixed_batch_passes_again_once_weights_have_changed() -> None:
    network = DcganGenerator(8, 2, latent_size=5, filters=3, statistics="batch", reference_batch=4).eval()
    z, passes = torch.randn(2, 5), []
    network.to_rgb.register_forward_hook(lambda *_: passes.append(1))
    first = network(z)
    assert torch.equal(network(z), first)
    assert len(passes) == 3, "the fixed batch passes once, and is remembered"
    twin = copy.deepcopy(network)
    torch._foreach_mul_(list(network.parameters()), 1.5)
    assert not torch.allclose(network(z), first)
    assert len(passes) == 5
    assert torch.equal(twin(z), first)
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin(z), network(z))


def _virtual(network: Any, z: Array, fixed: Array) -> Array:
    """DCGAN of 8 px with virtual batch norm, by the mean m and the mean square q of the authors' code."""
    norm, stem = network.stem_norm[0], _array(network.stem.weight)
    h, ref = (np.einsum("nc,couv->nouv", each, stem) for each in (z, fixed))
    share = 1 / (len(fixed) + 1)
    m = share * h.mean((2, 3), keepdims=True) + (1 - share) * ref.mean((0, 2, 3), keepdims=True)
    q = share * (h**2).mean((2, 3), keepdims=True) + (1 - share) * (ref**2).mean((0, 2, 3), keepdims=True)
    y = (h - m) / np.sqrt(1e-5 + q - m**2)
    y = _relu(y * _array(norm.weight).reshape(1, -1, 1, 1) + _array(norm.bias).reshape(1, -1, 1, 1))
    return np.tanh(_spread(y, _array(network.to_rgb.weight), 1))


@pytest.mark.parametrize("training", [True, False])
def test_virtual_batch_norm_is_that_of_the_definition(training: bool) -> None:
    options = {"normalization": "virtual", "reference_batch": 3}
    network = _shaken(DcganGenerator(8, 2, latent_size=5, filters=3, **options)).train(training)
    fixed = latents(0, "latent/reference", range(3), 5, "normal").double()
    z = latents(4, "z", range(2), 5, "normal").double()
    expected = _virtual(network, z.numpy(), fixed.numpy())
    np.testing.assert_allclose(_array(network(z)), expected, rtol=1e-8, atol=1e-9)
    alone = _array(network(z[:1]))
    np.testing.assert_allclose(alone, expected[:1], rtol=1e-8, atol=1e-9)


def test_gradients_go_through_the_fixed_batch_of_virtual_batch_norm() -> None:
    """Against finite differences, in which the fixed batch's statistics change too."""
    options = {"normalization": "virtual", "reference_batch": 3}
    network = _shaken(DcganGenerator(8, 1, latent_size=3, filters=2, **options))
    z = latents(4, "z", range(2), 3, "normal").double()
    network(z).square().sum().backward()
    weight, step = network.stem.weight, 1e-5
    assert weight.grad is not None
    for index in [(0, 0, 0, 0), (1, 1, 2, 3), (2, 0, 1, 1)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[index] += sign * step
                values.append(float(network(z).square().sum()))
                weight[index] -= sign * step
        assert float(weight.grad[index]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-7)
    copy.deepcopy(network)  # no graph is left behind


def test_critics_of_one_pass_judge_as_in_two() -> None:
    x, y = torch.randn(3, 3, 16, 16), torch.randn(3, 3, 16, 16)
    for name in ("dcgan", "dcgan_theano", "wgan_gp", "wgan_gp_residual", "mlp"):
        critic: Any = DISCRIMINATORS[name](resolution=16, filters=4)
        both = critic(torch.stack([x, y], dim=1).flatten(0, 1))
        same = torch.allclose(both[0::2], critic(x), atol=1e-6) and torch.allclose(both[1::2], critic(y), atol=1e-6)
        assert critic.rows_are_independent(3) == same
        assert critic.logit_layer() is critic.logit
