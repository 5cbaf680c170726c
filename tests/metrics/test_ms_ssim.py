"""MS-SSIM against a float64 reference in scipy, written from the definition."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from scipy.signal import fftconvolve

from progcycle.metrics import ms_ssim

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """One pair of pictures [H, W, C] in float64."""
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        side = min(11, *x.shape[:2])
        t = np.arange(side) - (side - 1) / 2
        g = np.exp(-(t[:, None] ** 2 + t[None] ** 2) / (2 * (1.5 * side / 11) ** 2))
        g = (g / g.sum())[:, :, None]
        blur = lambda z, g=g: fftconvolve(z, g, mode="valid", axes=(0, 1))  # noqa: E731
        mx, my = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        contrast = (2 * cov + c2) / (vx + vy + c2)
        ssim = contrast * (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        value = (ssim if scale == 4 else contrast).mean()
        product *= max(value, 0.0) ** weight
        x, y = (convolve(z, np.ones((2, 2, 1)) / 4, mode="reflect")[::2, ::2] for z in (x, y))
    return product


@pytest.mark.parametrize("side", [16, 32, 50])
def test_equals_the_reference(side: int) -> None:
    rng = np.random.default_rng(side)
    x = rng.integers(0, 256, (3, side, side, 3)).astype(float)
    y = np.clip(x + rng.normal(0, 40, x.shape), 0, 255)
    ours = ms_ssim(*(torch.from_numpy(z).permute(0, 3, 1, 2) for z in (x, y)))
    assert ours.numpy() == pytest.approx([by_hand(a, b) for a, b in zip(x, y, strict=True)], abs=1e-4)


def test_equal_pictures_give_one_and_small_ones_are_refused() -> None:
    x = torch.rand(2, 3, 32, 32) * 255
    assert ms_ssim(x, x).tolist() == pytest.approx([1, 1], abs=1e-6)
    with pytest.raises(ValueError, match="16"):
        ms_ssim(x[:, :, :8, :8], x[:, :, :8, :8])
