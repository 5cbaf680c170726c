"""Colours of sets, by hand."""

import numpy as np
import pytest
import torch

from progcycle.metrics import colour_inversion, colour_statistics, match_colours


def test_statistics_by_hand() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (7, 3, 4, 5))
    found = colour_statistics(torch.split(torch.from_numpy(x).float(), 3))
    np.testing.assert_allclose(found.mean.numpy(), x.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.deviation.numpy(), x.std(axis=(0, 2, 3)), rtol=1e-5)
    with pytest.raises(ValueError, match="no pictures"):
        colour_statistics([])


def test_matching_by_hand() -> None:
    own = colour_statistics([torch.tensor([-0.5, 0.5]).reshape(1, 1, 1, 2)])  # mean 0, deviation 0.5
    wanted = colour_statistics([torch.tensor([0.0, 0.4]).reshape(1, 1, 1, 2)])  # mean 0.2, deviation 0.2
    given = torch.tensor([-0.5, 0.0, 0.5, 1.0]).reshape(1, 1, 2, 2)
    torch.testing.assert_close(match_colours(given, own, wanted).flatten(), torch.tensor([0.0, 0.2, 0.4, 0.6]))


def test_a_set_matched_to_another_has_its_statistics() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.rand(5, 3, 8, 8, generator=rng) * scale - 0.3 for scale in (0.5, 0.8))
    wanted = colour_statistics([y])
    moved = colour_statistics([match_colours(x, colour_statistics([x]), wanted)])
    torch.testing.assert_close(moved.mean, wanted.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(moved.deviation, wanted.deviation, rtol=1e-5, atol=1e-6)


def test_a_channel_of_one_value_is_only_moved_and_colours_stay_in_range() -> None:
    flat = torch.full((2, 1, 4, 4), 0.1)
    wanted = colour_statistics([torch.tensor([-1.0, 0.6]).reshape(1, 1, 1, 2)])
    torch.testing.assert_close(match_colours(flat, colour_statistics([flat]), wanted), torch.full((2, 1, 4, 4), -0.2))
    bright = colour_statistics([torch.tensor([0.8, 1.0]).reshape(1, 1, 1, 2)])
    noise = torch.randn(1, 1, 20, 20).clamp(-1, 1)
    assert match_colours(noise, colour_statistics([flat]), bright).abs().max() <= 1
    with pytest.raises(ValueError, match="channels"):
        match_colours(torch.zeros(1, 3, 2, 2), bright, bright)


def test_inversion() -> None:
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(6, 3, 32, 32, generator=rng) * torch.rand(6, 3, 1, 1, generator=rng) * 2 - 1
    assert colour_inversion(x, x) == pytest.approx(-1)
    assert colour_inversion(x, -x) == pytest.approx(1)
    assert colour_inversion(x, 0.2 - 0.1 * x) == pytest.approx(1)
    assert abs(colour_inversion(x, torch.rand(6, 3, 32, 32, generator=rng))) < 0.2
    assert colour_inversion(x, torch.zeros_like(x)) == 0
    with pytest.raises(ValueError, match="equal shapes"):
        colour_inversion(x, x[:, :1])


def test_inversion_is_a_correlation_of_coarse_pixels() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-1, 1, (2, 4, 2, 16, 16))
    small = [a.reshape(4, 2, 8, 2, 8, 2).mean(axis=(3, 5)) for a in (x, y)]
    small = [a - a.mean(axis=(0, 2, 3), keepdims=True) for a in small]
    expected = -np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1]
    assert colour_inversion(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, rel=1e-9)
