"""Spectral norm against numpy's singular values, under autocast, and in whole discriminators."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from progcycle.blocks import EqualizedConv2d, EqualizedLinear, draw_normal, normalize_spectrally
from progcycle.networks import DISCRIMINATORS, ProgressiveTranslator

KINDS: dict[str, Any] = {
    "patchgan": {"filters": 8},
    "pggan": {"channels": [8, 6, 4], "hidden": 9},
    "progressive": {"channels": [8, 6, 4]},
}
PLACES = {"patchgan": (32, 0), "pggan": (16, 2), "progressive": (32, 2)}  # pixels of a side, stage


def used(network: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """The weights as the layers use them, each as a matrix."""
    found = {}
    for name, module in network.named_modules():
        if hasattr(module, "parametrizations"):
            weight = module.weight * getattr(module, "scale", 1.0)
            found[name] = weight.detach().flatten(1).double().numpy()
    return found


def make(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return DISCRIMINATORS[name](**KINDS[name], **options, spectral_norm=True)


@pytest.mark.parametrize("options", [{}, {"equalized": False}, {"initialization": "normal", "equalized": False}])
@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_the_largest_singular_value_of_every_layer_is_one(name: str, options: dict[str, Any]) -> None:
    options = {k: v for k, v in options.items() if name != "patchgan" or k != "equalized"}
    network, (side, stage) = make(name, **options), PLACES[name]
    for _ in range(60):
        network(torch.randn(2, 3, side, side), stage, 0.5)
    matrices = used(network.eval())
    ours = [m for m in network.modules() if isinstance(m, EqualizedConv2d | EqualizedLinear | nn.Conv2d)]
    assert len(matrices) == len(ours) >= 5
    for key, matrix in matrices.items():
        assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1, rel=0.02), key


@torch.no_grad()
def test_the_norm_is_computed_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 8, 3)
    network = nn.Sequential(layer)
    normalize_spectrally(network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(200):
            assert network(torch.randn(1, 6, 4, 4)).dtype == torch.bfloat16
        weight = layer.weight
    assert weight.dtype == torch.float32
    assert np.linalg.svd(weight.flatten(1).numpy(), compute_uv=False)[0] == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_evaluation_leaves_the_estimate_alone_and_training_moves_it() -> None:
    network, x = make("patchgan"), torch.randn(1, 3, 32, 32)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    first = network.eval()(x, 0, 1.0)
    assert torch.equal(network(x, 0, 1.0), first)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    other = copy.deepcopy(network).train()
    other(x, 0, 1.0)
    changed = {key for key, value in other.state_dict().items() if not torch.equal(value, state[key])}
    moving = {key for key, _ in network.named_buffers() if not key.startswith("logit")}  # a single row is found at once
    assert changed == moving
    assert torch.equal(network(x, 0, 1.0), first), "the copy has its own"


def test_penalties_differentiate_the_norm_twice() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(EqualizedConv2d(2, 3, 3), nn.Softplus(), nn.Conv2d(3, 1, 2)).double()
    normalize_spectrally(network)
    network.eval()
    names = [name for name, _ in network.named_parameters()]
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64)

    def penalty(*values: torch.Tensor) -> torch.Tensor:
        point = x.clone().requires_grad_()
        out = torch.func.functional_call(network, dict(zip(names, values, strict=True)), point)
        (slope,) = torch.autograd.grad(out.sum(), point, create_graph=True)
        return slope.square().sum()

    assert torch.autograd.gradcheck(penalty, tuple(p.detach().requires_grad_() for p in network.parameters()))


@torch.no_grad()
def test_equalized_layers_keep_their_weights_but_not_their_constant() -> None:
    torch.manual_seed(0)
    layer = EqualizedLinear(400, 300)
    drawn = layer.weight.clone()
    normalize_spectrally(layer)
    assert torch.equal(layer.parametrizations.weight.original, drawn)
    assert layer.scale == 1
    x = torch.randn(50, 400)
    expected = x.numpy() @ drawn.numpy().T / np.linalg.svd(drawn.numpy(), compute_uv=False)[0]
    for _ in range(300):
        layer(x)
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_normal_weights_of_growing_networks() -> None:
    torch.manual_seed(0)
    network = ProgressiveTranslator([32, 24, 16], predict="change", equalized=False, initialization="normal")
    drawn = torch.cat([p.flatten() for key, p in network.named_parameters() if p.ndim == 4 and "to_rgb" not in key])
    assert drawn.std() == pytest.approx(0.02, rel=0.02)
    assert drawn.mean() == pytest.approx(0, abs=5e-4)
    assert not any(p.any() for key, p in network.named_parameters() if "to_rgb" in key or "bias" in key)
    with pytest.raises(ValueError, match="goes with equalized False"):
        ProgressiveTranslator([8, 6], initialization="normal")


@torch.no_grad()
def test_normal_weights_of_single_layers() -> None:
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Linear(200, 200), nn.ConvTranspose2d(40, 40, 5, bias=False), EqualizedLinear(200, 200)])
    draw_normal(layers, 0.5)
    for layer in layers:
        assert layer.weight.std() == pytest.approx(0.5, rel=0.02)
    assert not layers[0].bias.any()
