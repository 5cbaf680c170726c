"""Squares and box reduction against plain numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from progcycle.data import box_reduce, fit, fit_to
from progcycle.data.fit import fit_short, fit_short_by_bands

RNG = np.random.default_rng(4)


@hypothesis_settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 3]), st.integers(0, 5), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_box_reduce_rounds_the_mean(channels, log_factor, log_resolution, seed):
    factor, resolution = 2**log_factor, 2**log_resolution
    side = factor * resolution
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)
    mean = pixels.reshape(resolution, factor, resolution, factor, channels).mean((1, 3))
    assert np.array_equal(box_reduce(pixels, resolution), np.floor(mean + 0.5))  # halves up, exactly


def test_box_reduce_of_large_white_squares_and_odd_sizes():
    for factor in (1, 256):
        assert (box_reduce(np.full((4 * factor, 4 * factor, 3), 255, np.uint8), 4) == 255).all()
    assert box_reduce(np.zeros((36, 36, 1), np.uint8), 12).shape == (12, 12, 1)
    with pytest.raises(ValueError, match="36 px cannot be box-reduced to 32 px"):
        box_reduce(np.zeros((36, 36, 3), np.uint8), 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_without_resize_is_the_central_square(channels):
    pixels = RNG.integers(0, 256, (16, 25, channels), dtype=np.uint8)
    assert np.array_equal(fit_to(pixels, 16, "crop"), pixels[:, 4:20])
    assert np.array_equal(fit_to(pixels.transpose(1, 0, 2).copy(), 16, "crop"), pixels.transpose(1, 0, 2)[4:20])


@pytest.mark.parametrize("channels", [1, 3])
def test_pad_keeps_all_and_fills_with_the_background(channels):
    pixels = RNG.integers(0, 256, (8, 16, channels), dtype=np.uint8)
    got = fit_to(pixels, 16, "pad", "red")
    assert np.array_equal(got[4:12], pixels)
    red = (255, 0, 0) if channels == 3 else (76,)
    assert (got[:4] == red).all()
    assert (got[12:] == red).all()
    assert fit_to(np.zeros((2, 900, channels), np.uint8), 16, "pad").shape == (16, 16, channels)


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(7, 5), (33, 61), (200, 90)])
def test_every_way_gives_a_square_and_keeps_flat_colours(how, size):
    flat = np.full((*size, 3), (10, 120, 240), np.uint8)
    got = fit_to(flat, 32, how, "rgb(10,120,240)")
    assert got.shape == (32, 32, 3)
    assert got.dtype == np.uint8
    assert (got == (10, 120, 240)).all()


def test_reduction_is_antialiased():
    board = np.indices((128, 128)).sum(0) % 2 * 255
    pixels = np.repeat(board.astype(np.uint8)[:, :, None], 3, 2)
    assert np.abs(fit_to(pixels, 32, "crop")[2:-2, 2:-2].astype(int) - 127).max() <= 2


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 3]), st.integers(1, 90), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_of_a_square_the_short_side_is_the_square(channels, side, log_resolution, log_factor, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)
    resolution, final = 4 << log_resolution, 4 << log_resolution << log_factor
    expected = box_reduce(fit_to(pixels, final, "crop"), resolution)
    assert np.array_equal(fit_short(pixels, resolution, final), expected)


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2), st.integers(0, 2))
def test_the_short_side_keeps_the_aspect_at_every_stage(height, width, log_resolution, log_factor):
    pixels = np.full((height, width, 3), (3, 140, 250), np.uint8)
    resolution = 4 << log_resolution
    got = fit_short(pixels, resolution, resolution << log_factor)
    assert (got == (3, 140, 250)).all()
    longer = max(height, width) * resolution / min(height, width)
    assert (min(got.shape[:2]), abs(max(got.shape[:2]) - longer) <= 0.5) == (resolution, True)


@pytest.mark.parametrize(
    "shape", [(37, 53, 3), (90, 40, 5), (200, 70, 3), (140, 70, 1), (7, 9, 3), (900, 16, 3), (16, 16, 3)]
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_by_bands_it_is_the_same_to_the_bit(shape, kind, monkeypatch):
    monkeypatch.setattr(fit, "AT_ONCE", 500)
    rng = np.random.default_rng(3)
    picture = (
        rng.random(shape, np.float32) * 2 - 1 if kind == np.float32 else rng.integers(0, np.iinfo(kind).max, shape)
    )
    picture, asked = picture.astype(kind), []

    def read(top, bottom, left, right):
        asked.append((bottom - top) * (right - left))
        return picture[top:bottom, left:right]

    for resolution, final in ((8, 16), (16, 16), (32, 64), (8, 8)):
        got, expected = fit_short_by_bands(read, *shape[:2], resolution, final), fit_short(picture, resolution, final)
        assert got.dtype == expected.dtype
        assert np.array_equal(got, expected)
    assert max(asked) <= max(500, *shape[:2])
