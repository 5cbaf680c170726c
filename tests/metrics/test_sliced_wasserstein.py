"""The sliced Wasserstein distance against a float64 reference in scipy, written from the definition."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from progcycle.metrics import sliced_wasserstein, source_of
from progcycle.metrics.sliced_wasserstein import directions, patch_places

PATCHES = 12


def pyramid(x: np.ndarray, levels: int) -> list[np.ndarray]:
    """Laplacian pyramid of pictures [N, C, H, W]; the last level is the low-pass picture."""
    line = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(line, line)[None, None]
    result = [x]
    for _ in range(levels - 1):
        small = convolve(result[-1], kernel, mode="mirror")[:, :, ::2, ::2]
        large = np.zeros_like(result[-1])
        large[:, :, ::2, ::2] = small
        result[-1] = result[-1] - convolve(large, 4 * kernel, mode="mirror")
        result.append(small)
    return result


def descriptors(level: np.ndarray, places: np.ndarray) -> np.ndarray:
    rows = [
        picture[:, top : top + 7, left : left + 7]
        for picture, mine in zip(level, places.astype(int), strict=True)
        for top, left in mine
    ]
    d = np.stack(rows)
    d = (d - d.mean(axis=(0, 2, 3), keepdims=True)) / d.std(axis=(0, 2, 3), keepdims=True)
    return d.reshape(len(d), -1)


def by_hand(x: np.ndarray, y: np.ndarray, seed: int) -> dict[int, float]:
    found = {}
    levels = (x.shape[2] // 16).bit_length()
    for a, b in zip(pyramid(x, levels), pyramid(y, levels), strict=True):
        side = a.shape[2]
        sets = [descriptors(p, patch_places(seed, i, side, len(p), PATCHES)) for i, p in enumerate((a, b))]
        vectors = directions(seed, side).astype(float)
        first, second = (np.sort(s @ vectors.T, axis=0) for s in sets)
        found[side] = 1000 * np.abs(first - second).mean()
    return found


def test_equals_the_reference_whatever_the_batches() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (20, 3, 64, 64)).astype(np.float64)
    y = np.clip(rng.normal(100, 60, (20, 3, 64, 64)), 0, 255).round()
    expected = by_hand(x, y, seed=5)
    for batch in (20, 3):
        sources = [source_of(torch.from_numpy(z).to(torch.uint8), batch) for z in (x, y)]
        (ours,) = sliced_wasserstein(sources[0], sources[1:], count=20, resolution=64, seed=5, patches=PATCHES)
        assert list(ours) == [64, 32, 16]
        assert ours == pytest.approx(expected, rel=1e-4)


def test_pictures_below_16_px_are_refused() -> None:
    source = source_of(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="16"):
        sliced_wasserstein(source, [source], count=4, resolution=8)
