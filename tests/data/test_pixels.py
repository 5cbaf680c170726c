"""Pillow's images and arrays: shapes, values and memory."""

import numpy as np
import pytest

from progcycle.data.pixels import as_image, as_pixels


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_pixels_come_back_with_an_axis_for_the_channels(channels: int, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, channels), dtype=np.uint8)
    image = as_image(pixels)
    assert (image.mode, image.size) == (mode, (5, 3))
    back = as_pixels(image)
    assert back.shape == (3, 5, channels)
    assert np.array_equal(back, pixels)


def test_sixteen_bits_of_grey_are_kept() -> None:
    pixels = np.array([[[0], [257], [65535]]], np.uint16)
    image = as_image(pixels)
    assert image.mode.startswith("I;16")
    assert np.array_equal(as_pixels(image), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_an_array_of_their_own(channels: int) -> None:
    image = as_image(np.zeros((2, 2, channels), np.uint8))
    pixels = as_pixels(image)
    pixels[:] = 7
    assert not as_pixels(image).any()
