"""MS-SSIM against scipy in float64, written from the definition."""

import numpy as np
import pytest
import torch
from emoji import emoji
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

from progcycle.metrics import batches_of, ms_ssim, pair_similarities

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def gauss(side: int) -> np.ndarray:
    """A 2-D Gaussian whose middle is that of the window, a pixel or a corner between four."""
    offsets = np.linspace(-(side - 1) / 2, (side - 1) / 2, side)
    g = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * (1.5 * side / 11) ** 2))
    return g / g.sum()


def terms(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """SSIM of two pictures [C, H, W], and its contrast and structure alone; means over pixels and channels."""
    window = gauss(min(11, *x.shape[1:]))[None]

    def mean(z: np.ndarray) -> np.ndarray:
        return signal.convolve(z, window, mode="valid", method="direct")

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    contrast = (2 * vxy + c2) / (vx + vy + c2)
    return float((contrast * (2 * mx * my + c1) / (mx**2 + my**2 + c1)).mean()), float(contrast.mean())


def by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    result = 1.0
    for scale, weight in enumerate(WEIGHTS):
        whole, contrast = terms(x, y)
        result *= max(whole if scale == 4 else contrast, 0) ** weight
        x, y = (ndimage.convolve(z, np.ones((1, 2, 2)) / 4, mode="reflect")[:, ::2, ::2] for z in (x, y))
    return result


def related(count: int, channels: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and noisy partners, so that similarities lie all over the range."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (count, channels, height, width))
    share = np.linspace(0, 1, count)[:, None, None, None]
    y = (1 - share) * x + share * rng.uniform(0, 255, x.shape)
    return np.rint(x).astype(np.uint8), np.rint(y).astype(np.uint8)


# 16, 32, 64: windows of 8, 4, 2 and 1; 23 and 37: odd sizes at every scale, such as 37, 19, 10, 5, 3
@pytest.mark.parametrize(
    ("channels", "height", "width"),
    [(3, 16, 16), (3, 32, 32), (3, 64, 64), (3, 23, 37), (3, 41, 16), (3, 96, 80), (1, 32, 32)],
)
def test_against_scipy(channels: int, height: int, width: int) -> None:
    x, y = related(5, channels, height, width)
    found = ms_ssim(torch.from_numpy(x), torch.from_numpy(y))
    expected = [by_scipy(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert max(expected) - min(expected) > 0.3


@pytest.mark.parametrize("side", [32, 64])
def test_against_scipy_on_real_pictures(side: int) -> None:
    pictures = emoji(12, side)
    found = pair_similarities(batches_of(torch.from_numpy(pictures), 5), 6, side)
    expected = [by_scipy(pictures[i], pictures[i + 1]) for i in range(0, 12, 2)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_flat_regions_keep_their_digits() -> None:
    """Emoji stand on white, where the variance of 255 is the difference of two large numbers."""
    x, y = np.full((1, 1, 64, 64), 255, np.uint8), np.full((1, 1, 64, 64), 255, np.uint8)
    y[0, 0, 20:30, 20:30] = 250
    found = ms_ssim(torch.from_numpy(x), torch.from_numpy(y))
    assert float(found) == pytest.approx(by_scipy(x[0], y[0]), abs=1e-5)


@pytest.mark.parametrize("side", [16, 50, 64])
def test_equal_pictures_are_one(side: int) -> None:
    x = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8)
    assert ms_ssim(x, x.clone()).tolist() == [1.0] * 4


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_range_and_symmetry(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = (torch.from_numpy(rng.integers(0, 256, (3, 3, 16, 16)).astype(np.uint8)) for _ in range(2))
    found = ms_ssim(x, y)
    assert bool(((found >= 0) & (found <= 1)).all())
    torch.testing.assert_close(found, ms_ssim(y, x))


def test_a_negative_is_cut_off_at_zero() -> None:
    x = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert ms_ssim(x, 255 - x).tolist() == [0.0]


def test_pairs_do_not_depend_on_batches_and_rows_stand_alone() -> None:
    pictures = torch.from_numpy(emoji(9, 32))
    first = pair_similarities(batches_of(pictures, 9), 4, 32)
    assert first.tolist() == [ms_ssim(pictures[i : i + 1], pictures[i + 1 : i + 2]).item() for i in (0, 2, 4, 6)]
    for batch in (1, 2, 5):
        assert torch.equal(pair_similarities(batches_of(pictures, batch), 4, 32), first)


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3, 15, 16), (2, 3, 15, 16)), ((2, 3, 16, 16), (1, 3, 16, 16)), ((2, 2, 16, 16),) * 2, ((3, 16, 16),) * 2],
)
def test_shapes_that_are_wrong(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sides from 16 px on"):
        ms_ssim(torch.zeros(a), torch.zeros(b))


def test_too_few_pictures_for_the_pairs() -> None:
    with pytest.raises(ValueError, match="gave 5 pictures, but 6 are wanted"):
        pair_similarities(batches_of(torch.zeros(5, 1, 16, 16)), 3, 16)
