"""Pixel norm and minibatch stddev against loops in float64."""

import numpy as np
import pytest
import torch

from progcycle.blocks import minibatch_stddev, pixel_norm, stddev_group


def test_pixel_norm_scales_every_pixel_by_its_own_features() -> None:
    torch.manual_seed(0)
    x = 3 * torch.randn(2, 5, 3, 4)
    a = x.double().numpy()
    expected = np.empty_like(a)
    for n in range(2):
        for i in range(3):
            for j in range(4):
                feature = a[n, :, i, j]
                expected[n, :, i, j] = feature / np.sqrt((feature**2).sum() / 5 + 1e-8)
    np.testing.assert_allclose(pixel_norm(x).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_pixel_norm_of_latents_gives_mean_square_one() -> None:
    torch.manual_seed(0)
    torch.testing.assert_close(pixel_norm(7 * torch.randn(4, 512)).square().mean(1), torch.ones(4))


def test_pixel_norm_epsilon_keeps_zero_finite() -> None:
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(pixel_norm(x).sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, 1e4))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 6e4])
def test_pixel_norm_in_half_precision_neither_overflows_nor_vanishes(
    dtype: torch.dtype, tolerance: float, size: float
) -> None:
    torch.manual_seed(0)
    x = (size * (0.5 + 0.5 * torch.rand(2, 16, 3, 3))).to(dtype)
    out = pixel_norm(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), pixel_norm(x.double()), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("batch", "size", "group"),
    [
        (14, 4, 7),
        (6, 4, 6),
        (7, 4, 7),
        (3, 4, 3),
        (1, 4, 1),
        (4, 4, 4),
        (16, 4, 4),
        (8, 3, 4),
        (12, 16, 12),
        (10, 4, 5),
    ],
)
def test_group_is_the_smallest_divisor_that_is_large_enough(batch: int, size: int, group: int) -> None:
    assert stddev_group(batch, size) == group


def stddev_channel(x: np.ndarray, group: int) -> np.ndarray:
    """The statistic of every picture, by the definition: picture i is grouped with i + M, i + 2M, ..."""
    n = x.shape[0]
    stride = n // group
    out = np.empty(n)
    for i in range(n):
        members = x[[j for j in range(n) if j % stride == i % stride]]
        assert len(members) == group
        variance = ((members - members.mean(0)) ** 2).sum(0) / group
        out[i] = np.sqrt(variance + 1e-8).mean()
    return out


@pytest.mark.parametrize(
    ("batch", "size", "group"), [(8, 4, 4), (14, 4, 7), (6, 4, 6), (6, 2, 2), (3, 4, 3), (9, 3, 3)]
)
def test_stddev_appends_one_map_of_the_groups_statistic(batch: int, size: int, group: int) -> None:
    torch.manual_seed(batch)
    x = torch.randn(batch, 3, 2, 5) * torch.arange(1, batch + 1).reshape(-1, 1, 1, 1)
    out = minibatch_stddev(x, size)
    assert out.shape == (batch, 4, 2, 5)
    assert torch.equal(out[:, :3], x)
    expected = np.broadcast_to(stddev_channel(x.double().numpy(), group).reshape(-1, 1, 1), (batch, 2, 5))
    np.testing.assert_allclose(out[:, 3].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_stddev_of_one_picture_is_root_epsilon_with_finite_derivatives() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    channel = minibatch_stddev(x)[:, 3]
    torch.testing.assert_close(channel, torch.full_like(channel, 1e-4))
    (first,) = torch.autograd.grad(channel.sum() + (x**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert first.isfinite().all()
    assert second.isfinite().all()


def test_stddev_of_equal_pictures_has_finite_derivatives() -> None:
    x = torch.ones(4, 2, 3, 3, requires_grad=True)
    (first,) = torch.autograd.grad(minibatch_stddev(x)[:, 2].sum() + (x**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert first.isfinite().all()
    assert second.isfinite().all()


def test_stddev_derivatives_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(minibatch_stddev, (x,))
    assert torch.autograd.gradgradcheck(minibatch_stddev, (x,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_stddev_is_computed_in_float32_for_half_precision_features(dtype: torch.dtype) -> None:
    # The squares of these deviations, 9e4, are beyond float16.
    x = torch.tensor([-300.0, 300.0], dtype=dtype).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    out = minibatch_stddev(x)
    assert out.dtype == dtype
    assert torch.equal(out[:, 1], torch.full((2, 2, 2), 300.0, dtype=dtype))
