"""Edges kept and fill inside lines: pictures worked out by hand, scipy's regions, properties."""

import numpy as np
import pytest
import torch
from emoji import emoji
from kornia.filters import gaussian_blur2d
from scipy import ndimage
from torch import Tensor

from progcycle.blocks import from_levels
from progcycle.metrics import edge_scores, fill_deviation
from progcycle.metrics.lines import edges, enclosed_regions


def square(first: int, last: int, side: int = 32) -> Tensor:
    """A black frame of 2 px on white.  # [1, 1, side, side]"""
    x = torch.ones(1, 1, side, side)
    x[..., first:last, first:last] = -1
    x[..., first + 2 : last - 2, first + 2 : last - 2] = 1
    return x


def test_equal_edges_are_all_kept() -> None:
    x = from_levels(torch.from_numpy(emoji(6)))
    found = edge_scores(x, x)
    assert (found.precision, found.recall) == (1.0, 1.0)
    moved = edge_scores(x.roll(1, 3), x)
    assert moved.recall is not None
    assert moved.recall > 0.97  # within a pixel, but for what the border cuts off


def test_edges_are_lost_and_new() -> None:
    """Half of the frames lose all edges; a second, equal frame far away doubles those of the other half."""
    drawing = square(4, 14)
    blank = torch.ones_like(drawing)
    both = torch.minimum(drawing, square(4, 14).roll(14, 3))
    assert edge_scores(blank, drawing).recall == 0
    assert edge_scores(blank, drawing).precision is None
    assert edge_scores(drawing, blank).recall is None
    assert edge_scores(drawing, blank).precision == 0
    found = edge_scores(torch.cat([both, blank]), torch.cat([drawing, drawing]))
    assert (found.precision, found.recall) == (0.5, 0.5)


def test_edges_of_colours_and_of_grey_are_compared_by_their_luma() -> None:
    frame = square(4, 20)
    tinted = frame.expand(-1, 3, -1, -1).clone()
    tinted[..., 6:18, 6:18] = torch.tensor([1.0, 0.8, 0.2]).reshape(1, 3, 1, 1)  # a light yellow within
    found = edge_scores(tinted, frame)
    assert (found.precision, found.recall) == (1.0, 1.0)


def test_edges_get_lost_by_blur_and_come_by_noise() -> None:
    x = from_levels(torch.from_numpy(emoji(8)))
    recalls = [edge_scores(gaussian_blur2d(x, (13, 13), (s, s)), x).recall or 0 for s in (0.5, 1.5, 3.0)]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] > recalls[2] + 0.3
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    precisions = [edge_scores((x + size * noise).clamp(-1, 1), x).precision or 0 for size in (0.02, 0.2, 0.5)]
    assert precisions == sorted(precisions, reverse=True)


def test_edges_are_steps_of_a_fifth() -> None:
    """A straight step shows in the two pixels beside it, a step of less than 51 levels in none."""
    grey = np.full((6, 8), 100, np.uint8)
    grey[:, 4:] = 151
    assert edges(grey).tolist() == [[False, False, False, True, True, False, False, False]] * 6
    grey[:, 4:] = 150
    assert not edges(grey).any()


def test_regions_are_those_that_lines_enclose() -> None:
    """scipy's labels of the same mask; a gap opens a region, a diagonal line closes it."""
    frame = ((square(4, 20)[0, 0] + 1) * 100).to(torch.uint8).numpy()
    found = enclosed_regions(frame)
    lines = ndimage.binary_dilation(frame < 100, np.ones((3, 3)))
    labels, count = ndimage.label(~lines)
    assert count == 2
    inside = labels == labels[12, 12]
    assert inside.sum() == 10**2  # 16 px less two lines of 2 px, each wider by one
    assert ((found > 0) == inside).all()
    open_frame = frame.copy()
    open_frame[8:13, 4:6] = 200
    assert not enclosed_regions(open_frame).any()
    assert not enclosed_regions(np.full((8, 8), 200, np.uint8)).any()
    diagonal = np.full((16, 16), 255, np.uint8)
    for k in range(8):
        for i, j in ((k, 7 - k), (k, 8 + k), (15 - k, 7 - k), (15 - k, 8 + k)):
            diagonal[i, j] = 0
    assert enclosed_regions(diagonal).any()


def test_fill_is_the_deviation_within_regions() -> None:
    """Two frames filled with one colour each are flat; in a third, half a region differs by 0.5 from the other half."""
    drawing = torch.minimum(square(2, 14), square(2, 14).roll(16, 3)).expand(-1, 3, -1, -1)
    painted = drawing.clone()
    painted[..., 4:12, 4:12], painted[..., 4:12, 20:28] = 0.3, -0.7
    assert fill_deviation(painted, drawing) == pytest.approx(0, abs=1e-7)
    painted[:, 0, 4:8, 4:12] = 0.8  # one of three channels, half of one of two regions
    assert fill_deviation(painted, drawing) == pytest.approx((0.25**2 / 6) ** 0.5, abs=1e-6)
    painted[..., 16:, :] = 0  # outside of the lines nothing counts
    assert fill_deviation(painted, drawing) == pytest.approx((0.25**2 / 6) ** 0.5, abs=1e-6)
    assert fill_deviation(drawing, torch.ones_like(drawing)) is None


def test_blotches_are_less_flat() -> None:
    drawing = square(3, 29)
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    blotches = gaussian_blur2d(noise, (9, 9), (2.0, 2.0))
    found = [fill_deviation(size * blotches, drawing) or 0.0 for size in (0.0, 0.5, 1.0)]
    assert found[0] == 0
    assert found[2] == pytest.approx(2 * found[1], rel=1e-5)


def test_other_sizes_are_refused() -> None:
    for measure in (edge_scores, fill_deviation):
        with pytest.raises(ValueError, match="as many pictures as drawings"):
            measure(torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 9))
