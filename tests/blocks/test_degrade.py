"""Pictures made worse: values by hand and by scipy, gradients by hand and by finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d

from progcycle.blocks import blurred, noisy, rounded


def test_rounding_by_hand() -> None:
    level = 2 / 255
    x = torch.tensor([-1.5, -1.0, -1 + 0.4 * level, -1 + 0.6 * level, 0.0, 1 - 0.4 * level, 1.0, 7.0])
    expected = [-1, -1, -1, -1 + level, 1 / 255, 1, 1, 1]  # 0 lies between levels 127 and 128, the even one is taken
    assert rounded(x).tolist() == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-1.5, 1.5, width=32), min_size=1, max_size=20))
def test_rounded_pictures_are_what_a_file_gives_back(values: list[float]) -> None:
    x = torch.tensor(values)
    saved = np.rint(np.clip(x.numpy(), -1, 1) * np.float32(127.5) + np.float32(127.5)).astype(np.uint8)
    assert torch.equal(rounded(x), torch.from_numpy(saved).float() / 127.5 - 1)
    assert torch.equal(rounded(rounded(x)), rounded(x))


def test_the_gradient_goes_straight_through_rounding() -> None:
    x = torch.tensor([-2.0, -0.999, 0.3, 5.0], requires_grad=True)
    weight = torch.tensor([1.0, -2.0, 3.0, 4.0])
    (rounded(x) * weight).sum().backward()
    assert torch.equal(x.grad, weight)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 2), h=st.integers(2, 6), w=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_blurring_is_scipys_binomial_filter_with_mirrored_borders(n: int, h: int, w: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(n, 3, h, w)
    expected = x.double().numpy()
    for axis in (2, 3):
        expected = correlate1d(expected, [0.25, 0.5, 0.25], axis=axis, mode="mirror")
    np.testing.assert_allclose(blurred(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_blurring_spreads_a_point_by_hand() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 16
    middle = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert blurred(x)[0, 0, 1:4, 1:4].tolist() == middle
    assert blurred(x).sum() == 16
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 16
    assert blurred(x)[0, 0].tolist() == [[4, 4, 4]] * 3, "borders see it twice, as they are mirrored"


def test_gradients_flow_through_blurring() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(blurred, (x,))


def test_noise_by_hand() -> None:
    x = torch.tensor([[0.5, -0.5], [1.0, 0.0]]).reshape(2, 1, 1, 2).requires_grad_(True)
    normals = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    out = noisy(x, normals, 0.25)
    assert out.flatten().tolist() == [0.75, -1.0, 1.0, 0.75]
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_too_coarse_for_256_levels(dtype: torch.dtype) -> None:
    x = torch.full((1, 1, 2, 2), 0.75, dtype=dtype)
    for out in (rounded(x), blurred(x), noisy(x, torch.ones(1, 4, dtype=dtype), 0.001)):
        assert out.dtype == torch.float32
    assert noisy(x, torch.ones(1, 4), 0.001).mean().item() == pytest.approx(0.751)
    assert rounded(x.double()).dtype == torch.float64
