"""Paired scores against numpy by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from emoji import emoji
from PIL import Image

from progcycle.blocks import from_levels
from progcycle.metrics import gradient_error, luma_chroma, luma_chroma_scores, paired_scores, pairing_p_value


def ssim_by_hand(x: np.ndarray, y: np.ndarray, side: int) -> float:
    """Wang et al. 2004 for one channel in [0, 1]: Gaussian window of sigma 1.5, no padding."""
    t = np.arange(side) - side // 2
    g = np.exp(-(t**2) / (2 * 1.5**2))
    window = np.outer(g, g) / np.outer(g, g).sum()
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for i in range(x.shape[0] - side + 1):
        for j in range(x.shape[1] - side + 1):
            a, b = x[i : i + side, j : j + side], y[i : i + side, j : j + side]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * a * a).sum() - ma**2, (window * b * b).sum() - mb**2
            cov = (window * a * b).sum() - ma * mb
            values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("size", "side", "channels"),
    [((16, 20), 11, 3), ((8, 8), 7, 3), ((4, 4), 3, 3), ((1, 1), 1, 3), ((8, 8), 7, 1)],
)
def test_against_numpy(size: tuple[int, int], side: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 3, channels, *size))
    scores = paired_scores(torch.from_numpy(x), torch.from_numpy(y))
    for i in range(3):
        assert float(scores.l1[i]) == pytest.approx(np.abs(x[i] - y[i]).mean(), rel=1e-5)
        mse = (((x[i] - y[i]) / 2) ** 2).mean()
        assert float(scores.psnr[i]) == pytest.approx(-10 * math.log10(mse), rel=1e-5)
        by_hand = np.mean([ssim_by_hand((x[i, c] + 1) / 2, (y[i, c] + 1) / 2, side) for c in range(channels)])
        assert float(scores.ssim[i]) == pytest.approx(by_hand, abs=2e-4)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0, None])
def test_equal_pictures_have_the_best_scores(value: float | None) -> None:
    x = torch.rand(2, 3, 16, 16) * 2 - 1 if value is None else torch.full((2, 3, 16, 16), value)
    means = paired_scores(x, x.clone()).means()
    assert means["l1"] == 0
    assert means["psnr"] == 100  # finite, so that it can stand in JSON
    assert means["ssim"] == pytest.approx(1, abs=2e-5)


def test_black_against_white() -> None:
    means = paired_scores(torch.full((1, 1, 12, 12), -1.0), torch.ones(1, 1, 12, 12)).means()
    assert means["l1"] == 2
    assert means["psnr"] == pytest.approx(0)
    assert means["ssim"] < 1e-3


def test_batches_do_not_matter() -> None:
    x, y = torch.rand(2, 5, 1, 16, 16)
    whole = paired_scores(x, y)
    parts = [paired_scores(x[:2], y[:2]), paired_scores(x[2:], y[2:])]
    for name in ("l1", "psnr", "ssim"):
        torch.testing.assert_close(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


@pytest.mark.parametrize("shapes", [((1, 1, 4, 4), (1, 1, 4, 5)), ((1, 4, 4), (1, 4, 4)), ((0, 1, 4, 4), (0, 1, 4, 4))])
def test_shapes_must_agree(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="shapes"):
        paired_scores(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


# --- steps from pixel to pixel ------------------------------------------------------------------------------------


def test_gradient_error_by_hand() -> None:
    """One bright pixel in a corner of 2x2: one of two steps across is off by 1, and one of two down."""
    x = torch.zeros(1, 1, 2, 2)
    y = x.clone()
    y[0, 0, 0, 0] = 1
    assert gradient_error(y, x).item() == pytest.approx(0.5)
    wide = torch.tensor([[0.0, 1.0, 0.0]]).reshape(1, 1, 1, 3).expand(1, 1, 2, 3)  # across 1, down 0
    assert gradient_error(wide, torch.zeros_like(wide)).item() == pytest.approx(0.5)
    assert gradient_error(wide + 0.3, wide).item() == pytest.approx(0, abs=1e-7)  # brightness has no steps
    assert gradient_error(-wide, wide).item() == pytest.approx(1)  # and an edge that goes the wrong way counts double


def test_no_gradient_error_is_above_4() -> None:
    board = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]).reshape(1, 1, 2, 3)
    assert gradient_error(board, -board).item() == 4


def test_gradient_error_of_every_picture_against_numpy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, size=(2, 3, 3, 6, 5))
    expected = [
        np.mean([np.abs(np.diff(a, axis=axis) - np.diff(b, axis=axis)).mean() for axis in (1, 2)])
        for a, b in zip(x, y, strict=True)
    ]
    assert gradient_error(torch.from_numpy(x), torch.from_numpy(y)).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shapes", [((1, 1, 2, 2), (1, 1, 2, 3)), ((1, 1, 1, 4), (1, 1, 1, 4))])
def test_pictures_without_steps_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="of 2 pixels a side or more"):
        gradient_error(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


# --- whether pairs are true ---------------------------------------------------------------------------------------


def test_share_as_near_is_that_of_all_orders() -> None:
    """Six pictures have 720 orders, which can be tried one by one."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 3, 4, 4))
    for weight in (0.0, 0.2, 0.5):
        y = weight * x + rng.normal(size=x.shape)
        away = [((x - y[list(order)]) ** 2).sum() for order in itertools.permutations(range(6))]
        exact = np.mean([distance <= away[0] + 1e-9 for distance in away])
        found = pairing_p_value(torch.from_numpy(x), torch.from_numpy(y))
        assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 999) + 1 / 1000)


def test_a_tint_does_not_matter_and_pairs_are_found() -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(40, 3, 8, 8)))
    y = 0.5 * x + torch.from_numpy(rng.normal(size=x.shape)) + torch.tensor([5.0, -3.0, 0.0]).reshape(1, 3, 1, 1)
    assert pairing_p_value(x, y) == 0.001
    assert pairing_p_value(x, x) == 0.001
    assert pairing_p_value(x[:, :, :, :], y.roll(1, dims=0)) > 0.05
    assert pairing_p_value(torch.zeros(9, 1, 2, 2), torch.zeros(9, 1, 2, 2)) == 1  # equal pictures are no evidence


def test_names_that_mean_nothing_are_believed_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(0)
    shares = [pairing_p_value(*torch.from_numpy(rng.normal(size=(2, 8, 1, 4, 4)))) for _ in range(200)]
    assert np.mean(np.array(shares) <= 0.1) == pytest.approx(0.1, abs=0.07)  # about 3 standard errors
    assert np.mean(shares) == pytest.approx(0.5, abs=0.07)


def test_sets_of_different_shapes_have_no_order() -> None:
    with pytest.raises(ValueError, match="two equal shapes"):
        pairing_p_value(torch.zeros(2, 1, 4, 4), torch.zeros(3, 1, 4, 4))


def test_luma_and_chroma_are_those_of_jpeg() -> None:
    """Pillow converts as JFIF does, rounded to levels; grey has no chroma."""
    levels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(levels).convert("YCbCr")).astype(np.float64)
    luma, chroma = luma_chroma(from_levels(torch.from_numpy(levels)).permute(2, 0, 1)[None])
    found = torch.cat([luma, chroma], dim=1)[0].permute(1, 2, 0).numpy() * 127.5 + np.array([127.5, 128, 128])
    assert np.abs(found - expected).max() < 1.1
    grey = torch.linspace(-1, 1, 12).reshape(1, 1, 3, 4).expand(-1, 3, -1, -1)
    torch.testing.assert_close(luma_chroma(grey), (grey[:, :1], torch.zeros(1, 2, 3, 4)), atol=1e-6, rtol=0)


def test_colour_and_structure_are_told_apart() -> None:
    """Blur spoils the luma, a turn of chroma around grey only the chroma, and the mean of both by hand."""
    x = from_levels(torch.from_numpy(emoji(6, side=32)))
    same = luma_chroma_scores(x, x)
    assert same == pytest.approx({"luma_l1": 0, "luma_ssim": 1, "chroma_l1": 0, "chroma_ssim": 1}, abs=1e-6)
    luma, chroma = luma_chroma(x)
    faded = torch.cat(
        [
            luma + 1.402 * chroma[:, 1:] / 2,
            luma - (0.299 * 1.402 * chroma[:, 1:] + 0.114 * 1.772 * chroma[:, :1]) / 0.587 / 2,
            luma + 1.772 * chroma[:, :1] / 2,
        ],
        dim=1,
    )  # half of the chroma
    found = luma_chroma_scores(faded, x)
    assert found["luma_l1"] == pytest.approx(0, abs=1e-6)
    assert found["chroma_l1"] == pytest.approx(float(chroma.abs().mean()) / 2, rel=1e-4)
    assert found["chroma_ssim"] < found["luma_ssim"] == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="3, H, W"):
        luma_chroma_scores(x[:, :1], x[:, :1])
