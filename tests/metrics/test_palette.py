"""Palettes against brute force and scipy; counts of colours worked out by hand; degradations in order."""

import colorsys

import numpy as np
import pytest
import torch
from emoji import emoji
from hypothesis import given
from hypothesis import strategies as st
from kornia.filters import gaussian_blur2d
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance
from torch import Tensor

from progcycle.blocks import from_levels
from progcycle.metrics import count_colours, palette, palette_distances
from progcycle.metrics.palette import circle_distance, line_distance


def histogram(rng: np.random.Generator, bins: int) -> Tensor:
    shares = rng.random(bins) * (rng.random(bins) < 0.5)
    shares[rng.integers(bins)] += 0.1
    return torch.from_numpy(shares / shares.sum())


def plain(*colours: tuple[float, float, float], side: int = 8) -> Tensor:
    """Pictures of one colour each, given in [0, 1].  # [N, 3, side, side] in [-1, 1]"""
    return (torch.tensor(colours)[:, :, None, None] * 2 - 1).expand(-1, -1, side, side)


def transport(first: Tensor, second: Tensor) -> float:
    """The least cost of moving one histogram round a circle to another, as a linear program."""
    bins = len(first)
    gap = np.abs(np.subtract.outer(np.arange(bins), np.arange(bins)))
    cost = np.minimum(gap, bins - gap) * 360 / bins
    rows = [np.kron(np.eye(bins), np.ones(bins)), np.kron(np.ones(bins), np.eye(bins))]
    found = linprog(cost.ravel(), A_eq=np.vstack(rows), b_eq=np.concatenate([first, second]))
    return float(found.fun)


@pytest.mark.parametrize("seed", range(4))
def test_the_way_round_the_circle_is_the_shortest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = histogram(rng, 12), histogram(rng, 12)
    assert circle_distance(first, second) == pytest.approx(transport(first, second), abs=1e-9)


@given(seed=st.integers(0, 10**6), turn=st.integers(0, 40))
def test_the_circle_has_no_beginning(seed: int, turn: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = histogram(rng, 40), histogram(rng, 40)
    whole = circle_distance(first, second)
    assert circle_distance(first.roll(turn), second.roll(turn)) == pytest.approx(whole, abs=1e-9)
    assert circle_distance(second, first) == pytest.approx(whole, abs=1e-9)
    assert circle_distance(first, first.roll(turn)) <= min(turn, 40 - turn) * 9 + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_distance_on_the_line_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = histogram(rng, 256), histogram(rng, 256)
    places = np.linspace(0, 1, 256)
    expected = wasserstein_distance(places, places, first.numpy(), second.numpy())
    assert line_distance(first, second) == pytest.approx(expected, abs=1e-12)


def test_palette_of_plain_pictures() -> None:
    """By hand: red, a half-saturated blue, grey. Chroma is 1, 0.4 and 0; hues weigh 5 to 2."""
    found = palette(plain((1, 0, 0), (0.2, 0.2, 0.6), (0.5, 0.5, 0.5)))
    assert found.hues[0] == pytest.approx(1 / 1.4, abs=1e-3)
    assert found.hues[240] == pytest.approx(0.4 / 1.4, abs=1e-3)
    assert found.mean_chroma == pytest.approx(1.4 / 3, abs=2e-3)
    means = np.array([[1, 0, 0], [0.2, 0.2, 0.6], [0.5, 0.5, 0.5]])
    assert found.colour_spread == pytest.approx(means.std(axis=0).mean(), abs=1e-6)
    assert found.colours.tolist() == [1, 1, 1]
    assert found.figures()["colours"] == 1
    blue = found.of(torch.tensor([1]))
    assert blue.hues[240] == 1
    assert blue.mean_chroma == pytest.approx(0.4, abs=2e-3)


def test_hues_are_those_of_the_standard_library() -> None:
    colours = np.random.default_rng(0).random((60, 3)).round(3)
    for colour in colours:
        found = palette(plain(tuple(colour), side=2))
        degree = int(found.hues.argmax())
        assert abs((degree - colorsys.rgb_to_hsv(*colour)[0] * 360 + 180) % 360 - 180) <= 0.51


def test_hue_distance_of_two_hues_is_the_angle_between_them() -> None:
    red, yellow, violet = (palette(plain(colour)) for colour in ((1, 0, 0), (1, 1, 0), (1, 0, 1)))
    assert palette_distances(red, yellow)["hue_distance"] == pytest.approx(60)
    assert palette_distances(violet, yellow)["hue_distance"] == pytest.approx(120)  # by way of red
    assert palette_distances(red, yellow)["chroma_distance"] == 0
    grey = palette(plain((0.3, 0.3, 0.3)))
    assert palette_distances(red, grey) == {"chroma_distance": pytest.approx(1)}  # grey has no hue


def test_the_order_of_pictures_makes_no_difference() -> None:
    x = from_levels(torch.from_numpy(emoji(10, side=32)))
    one, other = palette(x), palette(x.flip(0))
    torch.testing.assert_close(one.hues, other.hues)
    assert one.colours.tolist() == other.colours.tolist()[::-1]
    assert one.figures() == pytest.approx(other.figures())


def test_colours_are_counted_by_hand() -> None:
    """Four colours, one of which is too near to another and one too small; then the edge is smoothed."""
    x = torch.ones(1, 3, 32, 32)
    x[:, :, 4:16, 4:28] = torch.tensor([1.0, -1, -1]).reshape(1, 3, 1, 1)  # red
    x[:, :, 4:16, 20:28] = torch.tensor([0.95, -0.95, -1]).reshape(1, 3, 1, 1)  # nearly the same red
    x[:, :, 20:28, 4:28] = torch.tensor([-1.0, -1, 1]).reshape(1, 3, 1, 1)  # blue
    x[:, :, 29:32, 29:32] = torch.tensor([-1.0, 1, -1]).reshape(1, 3, 1, 1)  # green, 9 of 1,024 pixels
    assert count_colours(x).tolist() == [3]  # with white
    assert count_colours(gaussian_blur2d(x, (5, 5), (0.7, 0.7))).tolist() == [3]
    noise = 0.03 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert count_colours((x + noise).clamp(-1, 1)).tolist() == [3]
    checks = torch.arange(32)[:, None] + torch.arange(32)
    assert count_colours((1.0 - 2 * (checks % 2)).expand(1, 3, -1, -1)).tolist() == [0]  # nothing is flat
    x[:, :, 28:32, 28:32] = torch.tensor([-1.0, 1, -1]).reshape(1, 3, 1, 1)  # 16 pixels
    assert count_colours(x).tolist() == [4]


def test_fewer_colours_are_farther_from_the_real_palette() -> None:
    x = from_levels(torch.from_numpy(emoji(40, side=48)))
    real = palette(x)
    colours = torch.tensor([[1.0, 1, 1], [1, 0.8, -0.6], [-0.8, -0.8, -0.8], [0.8, -0.6, -0.6], [-0.5, 0.2, 0.8]])
    counts, hues = [real.figures()["colours"]], [0.0]
    for some in (5, 2):
        near = (x[:, None] - colours[:some].reshape(1, -1, 3, 1, 1)).square().sum(2).argmin(1)
        found = palette(colours[near].permute(0, 3, 1, 2))
        counts.append(found.figures()["colours"])
        hues.append(palette_distances(found, real)["hue_distance"])
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 3
    assert hues[0] < hues[1] < hues[2]


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 1, 8, 8), (3, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="RGB"):
        palette(torch.zeros(shape))
