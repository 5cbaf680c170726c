"""Conversion between Pillow images and arrays of pixels, which always have an axis for the channels."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from progcycle.blocks.levels import DEEPEST, max_level


def as_image(pixels: np.ndarray) -> Image.Image:
    """Pixels as a Pillow image, which may share their memory.

    Args:
        pixels: grey, grey with opacity, RGB, or RGB with opacity; uint8, or grey of uint16.  # [H, W, 1 to 4]

    Returns:
        An image of mode L, LA, RGB or RGBA; I;16 of uint16.

    Raises:
        TypeError: Pillow has no mode for such an array.
    """
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def as_pixels(image: Image.Image) -> np.ndarray:  # [H, W, C]
    """A Pillow image's pixels as they are stored, in an array of its own.

    Args:
        image: of a mode whose channels are numbers, such as L, RGB or I;16; not 1 or P.
    """
    pixels = np.array(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def changed(pixels: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Pixels after a change by Pillow, such as a reduction; each channel by itself where Pillow has no mode for them.

    Args:
        pixels: uint8, or levels of 16 bits, or floating point in [-1, 1].  # [H, W, C] -> [h, w, C]
        change: a filter of means: 16 bits and floating point go through it as float32, and come back into their range.
    """
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        return as_pixels(change(as_image(pixels)))
    if pixels.dtype == np.uint8:
        parts = [change(Image.fromarray(np.ascontiguousarray(pixels[..., i]))) for i in range(pixels.shape[2])]
        return np.stack([np.array(part) for part in parts], axis=2)
    planes = (Image.fromarray(pixels[..., i].astype(np.float32)) for i in range(pixels.shape[2]))
    found = np.stack([np.array(change(plane)) for plane in planes], axis=2)
    return in_range(found, pixels.dtype)


def in_range(numbers: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray:
    """Numbers near the range of pixels as such pixels: the nearest levels of uint16, or floating point in [-1, 1]."""
    if dtype == np.uint16:
        levels: np.ndarray = numbers.round().clip(0, max_level(DEEPEST)).astype(np.uint16)
        return levels
    return numbers.clip(-1, 1)
