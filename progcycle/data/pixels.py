"""Conversion between Pillow images and arrays of pixels, which always have an axis for the channels."""

import numpy as np
from PIL import Image


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
