"""Multiplicative noise: formulas by hand, means and shares by statistics."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from progcycle.blocks import Noise, NoiseMode, gdrop

MODES: tuple[NoiseMode, ...] = ("prop", "mul", "drop")


def factor(n: float, strength: float, mode: NoiseMode, channels: int) -> float:
    """What a feature map is multiplied with, by the definition."""
    if mode == "prop":
        return 1 + strength * math.sqrt(channels) * n
    if mode == "mul":
        return (1 + strength) ** n
    return 1 / (1 - strength) if NormalDist().cdf(n) < 1 - strength else 0.0


@pytest.mark.parametrize(
    ("mode", "n", "expected"),
    [
        ("prop", 0.5, 1.5),  # 1 + 0.5 * sqrt(4) * 0.5
        ("prop", -2.0, -1.0),
        ("mul", 2.0, 2.25),
        ("mul", -1.0, 1 / 1.5),
        ("drop", -0.01, 2.0),  # the lower half is kept
        ("drop", 0.01, 0.0),
    ],
)
def test_factor_by_hand(mode: NoiseMode, n: float, expected: float) -> None:
    out = gdrop(torch.ones(1, 4, 2, 2), torch.full((1, 4), n), 0.5, mode)
    torch.testing.assert_close(out, torch.full((1, 4, 2, 2), expected))


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)),
    strength=st.floats(0, 0.95),
    tensor=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_each_map_of_each_picture_has_its_own_factor(
    mode: NoiseMode, shape: tuple[int, int, int, int], strength: float, tensor: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    x, normals = torch.randn(shape), torch.randn(shape[:2])
    assume(all(abs(NormalDist().cdf(n) + strength - 1) > 1e-5 for n in normals.flatten().tolist()))  # the edge of drop
    out = gdrop(x, normals, torch.tensor(strength) if tensor else strength, mode)
    a = x.double().numpy()
    expected = np.empty(shape)
    for i in range(shape[0]):
        for c in range(shape[1]):
            expected[i, c] = a[i, c] * factor(normals[i, c].item(), strength, mode, shape[1])
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strength", [0.0, torch.tensor(0.0)])
def test_no_strength_leaves_features_as_they_are(mode: NoiseMode, strength: Any) -> None:
    x = torch.randn(3, 2, 4, 4)
    normals = torch.tensor([[0.0, 1.0], [-9.0, 3.0], [9.0, 40.0]])  # Phi(9) rounds to 1
    assert torch.equal(gdrop(x, normals, strength, mode), x)


@pytest.mark.parametrize(
    ("mode", "strength", "mean"),
    [("prop", 0.1, 1.0), ("drop", 0.3, 1.0), ("mul", 0.2, math.exp(math.log(1.2) ** 2 / 2))],
)
def test_mean_factor(mode: NoiseMode, strength: float, mean: float) -> None:
    torch.manual_seed(0)
    factors = gdrop(torch.ones(2000, 16, 1, 1), torch.randn(2000, 16), strength, mode)
    assert factors.mean().item() == pytest.approx(mean, abs=0.01)


def test_prop_has_the_standard_deviation_strength_times_root_channels() -> None:
    torch.manual_seed(0)
    factors = gdrop(torch.ones(2000, 16, 1, 1), torch.randn(2000, 16), 0.1, "prop")
    assert factors.std().item() == pytest.approx(0.1 * 4, rel=0.02)


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.8])
def test_drop_keeps_the_share_that_the_strength_leaves(strength: float) -> None:
    torch.manual_seed(0)
    factors = gdrop(torch.ones(2000, 16, 1, 1), torch.randn(2000, 16), strength, "drop")
    assert (factors != 0).double().mean().item() == pytest.approx(1 - strength, abs=0.01)
    kept = factors[factors != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - strength)))


@pytest.mark.parametrize("strength", [1.0, 1.5])
def test_drop_of_everything_is_zero(strength: float) -> None:
    out = gdrop(torch.randn(4, 3, 2, 2), torch.randn(4, 3), strength, "drop")
    assert torch.equal(out, torch.zeros(4, 3, 2, 2))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_features_keep_their_type_and_the_factor_is_float32(mode: NoiseMode, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    normals = torch.randn(3, 5)
    out = gdrop(torch.ones(3, 5, 2, 2, dtype=dtype), normals, torch.tensor(0.03), mode)
    assert out.dtype == dtype
    assert torch.equal(out, gdrop(torch.ones(3, 5, 2, 2), normals, torch.tensor(0.03), mode).to(dtype))


@pytest.mark.parametrize("mode", MODES)
def test_noise_is_constant_for_derivatives(mode: NoiseMode) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    normals = torch.randn(2, 3, dtype=torch.float64)

    def run(x: torch.Tensor) -> torch.Tensor:
        return gdrop(x**2, normals, 0.3, mode)

    assert torch.autograd.gradcheck(run, (x,))
    assert torch.autograd.gradgradcheck(run, (x,))


@pytest.mark.parametrize("shape", [(2, 1), (1, 3), (3, 2), (2, 4)])
def test_normals_of_another_shape_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="do not take normals"):
        gdrop(torch.ones(2, 3, 4, 4), torch.zeros(shape), 0.1, "prop")


def test_unknown_mode_is_refused() -> None:
    unknown: Any = "add"
    with pytest.raises(ValueError, match="'add'"):
        gdrop(torch.ones(1, 1, 1, 1), torch.zeros(1, 1), 0.1, unknown)


@pytest.mark.parametrize("mode", MODES)
def test_noise_takes_the_next_columns_for_every_layer(mode: NoiseMode) -> None:
    torch.manual_seed(0)
    normals, strength = torch.randn(2, 9), torch.tensor(0.4)
    noise = Noise(normals, strength, mode)
    for start, end in ((0, 4), (4, 5), (5, 9)):
        x = torch.randn(2, end - start, 3, 3)
        assert torch.equal(noise(x), gdrop(x, normals[:, start:end], strength, mode))


def test_noise_that_is_used_up_or_too_short_is_refused() -> None:
    noise = Noise(torch.zeros(2, 5), torch.tensor(0.1), "prop")
    noise(torch.ones(2, 3, 1, 1))
    with pytest.raises(ValueError, match="2 columns of noise are left for 3 channels"):
        noise(torch.ones(2, 3, 1, 1))
    noise(torch.ones(2, 2, 1, 1))  # a refusal takes nothing
    with pytest.raises(ValueError, match="0 columns"):
        noise(torch.ones(2, 1, 1, 1))
    with pytest.raises(ValueError, match="do not take normals"):
        Noise(torch.zeros(2, 5), torch.tensor(0.1), "prop")(torch.ones(4, 3, 1, 1))
