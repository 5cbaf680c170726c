"""The published networks: sizes and layers listed by hand, and numpy in float64 written from their definitions."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from progcycle.networks import DISCRIMINATORS, TRANSLATORS, PatchDiscriminator, ResnetTranslator, UnetTranslator

Array = Any
SMALL: dict[str, Callable[..., nn.Module]] = {
    "resnet": lambda **options: ResnetTranslator(4, residual_blocks=2, **options),
    "resize": lambda **options: ResnetTranslator(4, residual_blocks=1, upsampling="resize", **options),
    "unet": lambda **options: UnetTranslator(4, filters=4, **options),
    "patchgan": lambda **options: PatchDiscriminator(4, layers=2, **options),
}
NORMS = ("instance", "batch", "layer", "pixel", "none")


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_numbers_of_parameters_are_those_of_the_published_code() -> None:
    with torch.device("meta"):
        assert size(ResnetTranslator()) == 11_378_179
        assert size(ResnetTranslator(residual_blocks=6)) == 7_837_699
        assert size(UnetTranslator(8)) == 54_409_603
        assert size(PatchDiscriminator()) == 2_764_737


def layers(network: nn.Module) -> list[tuple[Any, ...]]:
    """(u for transposed, in, out, kernel, stride, padding, whether biased) of the convolutions, in order."""
    return [
        ("u" * m.transposed, m.in_channels, m.out_channels, *(v[0] for v in (m.kernel_size, m.stride, m.padding)),
         m.bias is not None)
        for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]  # fmt: skip


def test_layers_of_resnet() -> None:
    with torch.device("meta"):
        assert layers(ResnetTranslator(residual_blocks=2)) == [
            ("", 3, 64, 7, 1, 0, True),
            ("", 64, 128, 3, 2, 1, True),
            ("", 128, 256, 3, 2, 1, True),
            *[("", 256, 256, 3, 1, 0, True)] * 4,
            ("u", 256, 128, 3, 2, 1, True),
            ("u", 128, 64, 3, 2, 1, True),
            ("", 64, 3, 7, 1, 0, True),
        ]
        resized = layers(ResnetTranslator(residual_blocks=0, upsampling="resize"))
        assert resized[3:5] == [("", 256, 128, 3, 1, 0, True), ("", 128, 64, 3, 1, 0, True)]
        assert [layer[-1] for layer in layers(ResnetTranslator(residual_blocks=1, normalize="batch"))] == [
            *[False] * 7, True,
        ]  # fmt: skip


def test_layers_of_unet() -> None:
    with torch.device("meta"):
        network = UnetTranslator(8)
    down = [(3, 64), (64, 128), (128, 256), (256, 512), *[(512, 512)] * 4]
    up = [(512, 512), *[(1024, 512)] * 3, (1024, 256), (512, 128), (256, 64), (128, 3)]
    assert layers(network) == [("", *way, 4, 2, 1, True) for way in down] + [("u", *way, 4, 2, 1, True) for way in up]
    with torch.device("meta"):
        normed = [name for name, m in UnetTranslator(5).named_modules() if type(m).__name__ == "PictureNorm"]
    assert normed == ["down.1.1", "down.2.1", "down.3.1", *(f"up.{i}.1" for i in range(4))]
    with pytest.raises(ValueError, match="halves its pictures twice at least, got 1"):
        UnetTranslator(1)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, [(3, 64, 1), (64, 128, 1), (128, 1, 1)]),
        (1, [(3, 64, 2), (64, 128, 1), (128, 1, 1)]),
        (3, [(3, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 1), (512, 1, 1)]),
        (5, [(3, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 2), (512, 512, 2), (512, 512, 1), (512, 1, 1)]),
    ],
)
def test_layers_of_patchgan(count: int, expected: list[tuple[int, int, int]]) -> None:
    with torch.device("meta"):
        network = PatchDiscriminator(layers=count)
    kernel, zeros = (4, 1) if count else (1, 0)
    assert layers(network) == [("", a, b, kernel, stride, zeros, True) for a, b, stride in expected]
    normed = [name for name, m in network.named_modules() if type(m).__name__ == "PictureNorm"]
    assert normed == [f"body.{i}.1" for i in range(1, max(count, 1) + 1)]


@pytest.mark.parametrize(("count", "seen"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142)])
def test_pixels_that_a_logit_sees(count: int, seen: int) -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(2, layers=count, normalize="none").double()
    x = torch.randn(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    logits = network(x, 0, 1.0)
    middle = logits.shape[2] // 2
    logits[0, 0, middle, middle].backward()
    assert x.grad is not None
    touched = x.grad[0].abs().sum(0).nonzero()
    assert (touched.max(0).values - touched.min(0).values + 1).tolist() == [seen, seen]


# --- numpy, from the definitions ----------------------------------------------------------------------------------


def correlate(x: Array, weight: Array, bias: Array, stride: int = 1, zeros: int = 0) -> Array:
    """x: [C, H, W]; weight: [out, in, k, k]."""
    x, k = np.pad(x, ((0, 0), (zeros, zeros), (zeros, zeros))), weight.shape[2]
    rows, columns = ((side - k) // stride + 1 for side in x.shape[1:])
    out = np.empty((weight.shape[0], rows, columns))
    for i in range(rows):
        for j in range(columns):
            out[:, i, j] = (weight * x[:, i * stride : i * stride + k, j * stride : j * stride + k]).sum((1, 2, 3))
    return out + bias[:, None, None]


def spread(x: Array, weight: Array, bias: Array, cut: int, more: int) -> Array:
    """A transposed convolution of stride 2: every pixel adds its kernel; weight: [in, out, k, k]."""
    k = weight.shape[2]
    out = np.zeros((weight.shape[1], 2 * (x.shape[1] - 1) + k + more, 2 * (x.shape[2] - 1) + k + more))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            out[:, 2 * i : 2 * i + k, 2 * j : 2 * j + k] += np.tensordot(x[:, i, j], weight, 1)
    return out[:, cut : out.shape[1] - cut, cut : out.shape[2] - cut] + bias[:, None, None]


def reflect(x: Array, width: int) -> Array:
    return np.pad(x, ((0, 0), (width, width), (width, width)), mode="reflect")


def instance(x: Array) -> Array:
    return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)


def relu(x: Array, slope: float = 0.0) -> Array:
    return np.where(x > 0, x, slope * x)


def weights_of(network: nn.Module) -> list[tuple[Array, Array]]:
    """Weight and bias of all convolutions, in order."""
    convs = (m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    return [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in convs if m.bias is not None]


def resnet(x: Array, w: list[tuple[Array, Array]], blocks: int, resize: bool) -> Array:
    x = relu(instance(correlate(reflect(x, 3), *w[0])))
    for i in (1, 2):
        x = relu(instance(correlate(x, *w[i], stride=2, zeros=1)))
    for i in range(3, 3 + 2 * blocks, 2):
        h = relu(instance(correlate(reflect(x, 1), *w[i])))
        x = x + instance(correlate(reflect(h, 1), *w[i + 1]))
    for i in (-3, -2):
        enlarged = x.repeat(2, axis=1).repeat(2, axis=2)
        h = correlate(reflect(enlarged, 1), *w[i]) if resize else spread(x, *w[i], cut=1, more=1)
        x = relu(instance(h))
    return np.tanh(correlate(reflect(x, 3), *w[-1]))


def unet(x: Array, w: list[tuple[Array, Array]], halvings: int) -> Array:
    def inner(x: Array, level: int) -> Array:
        """What comes back from below, beside what was there."""
        h = correlate(relu(x, 0.2), *w[level], stride=2, zeros=1)
        if level < halvings - 1:
            h = inner(instance(h), level + 1)
        return np.concatenate([x, instance(spread(relu(h), *w[2 * halvings - 1 - level], cut=1, more=0))])

    h = inner(correlate(x, *w[0], stride=2, zeros=1), 1)
    return np.tanh(spread(relu(h), *w[-1], cut=1, more=0))


def patchgan(x: Array, w: list[tuple[Array, Array]]) -> Array:
    x = relu(correlate(x, *w[0], stride=2, zeros=1), 0.2)
    for i in range(1, len(w) - 1):
        x = relu(instance(correlate(x, *w[i], stride=2 if i < len(w) - 2 else 1, zeros=1)), 0.2)
    return correlate(x, *w[-1], zeros=1)


REFERENCES: dict[str, Callable[[Array, list[tuple[Array, Array]]], Array]] = {
    "resnet": lambda x, w: resnet(x, w, blocks=2, resize=False),
    "resize": lambda x, w: resnet(x, w, blocks=1, resize=True),
    "unet": lambda x, w: unet(x, w, halvings=4),
    "patchgan": patchgan,
}


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_forward_is_the_definition(name: str) -> None:
    torch.manual_seed(0)
    network = SMALL[name]().double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.rand(2, 3, 16, 32, dtype=torch.float64) * 2 - 1
    out = network(x, 0, 1.0)
    for picture, expected in zip(out, x.numpy(), strict=True):
        np.testing.assert_allclose(picture.numpy(), REFERENCES[name](expected, weights_of(network)), atol=1e-10)
    assert out.std() > 0.05


# --- how all networks here behave ---------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", NORMS)
@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_growth_changes_nothing(name: str, normalize: str) -> None:
    torch.manual_seed(0)
    network, x = SMALL[name](normalize=normalize), torch.rand(2, 3, 16, 16) * 2 - 1
    names = {key for key, _ in network.named_buffers()}
    assert bool(names) == (normalize == "batch")
    assert all(re.search(r"running_(mean|var)$|num_batches_tracked$", key) for key in names)
    out = network(x, 0, 1.0)
    assert torch.equal(network(x, 0, 0.3), out)
    assert out.isfinite().all()
    assert out.std() > 1e-3, "no norm silences the network"
    assert torch.equal(network(x, 2, 1.0), out)
    assert network.sizes == ("one" if name == "unet" else "any")


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_learns_and_penalties_differentiate_twice(name: str) -> None:
    torch.manual_seed(0)
    network, x = SMALL[name](), (torch.rand(2, 3, 16, 16) * 2 - 1).requires_grad_()
    (slope,) = torch.autograd.grad(network(x, 0, 1.0).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.ndim == 1 or parameter.grad.any(), key


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_pictures_and_logits_stay_float32_under_autocast(name: str) -> None:
    network, x = SMALL[name](), torch.rand(1, 3, 16, 16)
    seen: set[torch.dtype] = set()
    network.register_forward_hook(lambda _, __, out: seen.add(out.dtype))
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_hook(lambda _, __, out: seen.add(out.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(x, 0, 1.0)
    assert out.dtype == torch.float32
    assert seen == {torch.float32, torch.bfloat16}


@pytest.mark.parametrize("in_channels", [1, 3])
@torch.no_grad()
def test_channels_and_sizes(in_channels: int) -> None:
    x = torch.rand(1, in_channels, 16, 32)
    options: dict[str, Any] = {"in_channels": in_channels, "out_channels": 4 - in_channels}
    for name in ("resnet", "resize", "unet"):
        network = SMALL[name](**options)
        assert network(x, 0, 1.0).shape == (1, 4 - in_channels, 16, 32)
        smallest = torch.rand(1, in_channels, network.smallest, network.smallest)
        assert network(smallest, 0, 1.0).shape[2:] == smallest.shape[2:]
        assert network.smallest % network.multiple(0) == 0


@pytest.mark.parametrize(
    ("count", "side", "logits"), [(3, 256, 30), (3, 32, 2), (3, 24, 1), (2, 32, 6), (4, 64, 2), (0, 4, 4)]
)
@torch.no_grad()
def test_logits_of_patchgan(count: int, side: int, logits: int) -> None:
    network = PatchDiscriminator(2, layers=count)
    assert network(torch.rand(1, 3, side, side), 0, 1.0).shape == (1, 1, logits, logits)
    assert side >= network.smallest
    with pytest.raises(RuntimeError):
        network(torch.rand(1, 3, network.smallest - 1, network.smallest - 1), 0, 1.0)


@pytest.mark.parametrize("name", ["patchgan", "unet", "resnet"])
@torch.no_grad()
def test_normal_weights_are_the_published_ones(name: str) -> None:
    torch.manual_seed(0)
    network = (TRANSLATORS | DISCRIMINATORS)[name](**({"halvings": 5} if name == "unet" else {}), filters=32,
                                                   initialization="normal", normalize="batch")  # fmt: skip
    weights = torch.cat([p.flatten() for p in network.parameters() if p.ndim == 4])
    assert weights.mean() == pytest.approx(0, abs=1e-4)
    assert weights.std() == pytest.approx(0.02, rel=1e-2)
    scales = torch.cat([m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    assert scales.mean() == pytest.approx(1, abs=0.005)
    assert scales.std() == pytest.approx(0.02, rel=0.2)
    biases = [p for key, p in network.named_parameters() if key.endswith("bias")]
    assert biases
    assert not any(bias.any() for bias in biases)


@torch.no_grad()
def test_he_keeps_the_size_of_signals() -> None:
    """Without normalisation, every layer's output has about the mean square of its input times that of a ReLU."""
    torch.manual_seed(0)
    for conv_in, network in ((32, ResnetTranslator(32, residual_blocks=0, normalize="none")),
                             (64, UnetTranslator(4, filters=32, normalize="none"))):  # fmt: skip
        ups = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d) and m.in_channels >= conv_in]
        ups = [m for m in ups if m is not network.to_rgb]
        assert len(ups) >= 2
        for conv in ups:
            x = torch.randn(4, conv.in_channels, 16, 16).relu()
            inside = conv(x)[:, :, 4:-4, 4:-4]
            assert inside.square().mean() == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("normalize", ["batch", "instance", "pixel", "layer", "none"])
def test_a_resnet_without_blocks_takes_4_px_unless_its_norm_needs_more_than_one_number(normalize: Any) -> None:
    """At 4 px its middle is a single pixel: of one picture, batch norm refuses it and instance norm makes it 0."""
    smallest = 8 if normalize in ("batch", "instance") else 4
    network = ResnetTranslator(4, residual_blocks=0, normalize=normalize)
    assert network.smallest == smallest
    one, other = (network(torch.rand(1, 3, smallest, smallest)) for _ in range(2))
    assert not torch.allclose(one, other)
