"""From a picture of any size to a square, and from the final resolution down to a stage."""

from typing import Literal

import numpy as np
from PIL import Image

from progcycle.data.decode import parse_colour
from progcycle.data.pixels import as_image, as_pixels


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    shrinks = width < image.width or height < image.height
    return image.resize((width, height), Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC)


def fit_square(
    picture: np.ndarray, side: int, how: Literal["crop", "pad", "stretch"], background: str = "white"
) -> np.ndarray:
    """Make a picture a square of ``side`` pixels.

    Args:
        picture: uint8.  # [H, W, C] -> [side, side, C]
        side: pixels per side.
        how: "crop" keeps the central square, "pad" the whole picture with bars of the background colour, "stretch"
            the whole picture without its proportions.
        background: colour of the bars.
    """
    height, width = picture.shape[:2]
    if how == "crop":
        square = min(width, height)
        left, top = (width - square) // 2, (height - square) // 2
        picture = np.ascontiguousarray(picture[top : top + square, left : left + square])
    image = as_image(picture)
    if how == "pad" and width != height:
        longer = max(width, height)
        image = _resize(image, max(round(width * side / longer), 1), max(round(height * side / longer), 1))
        canvas = Image.new("RGB", (side, side), parse_colour(background)).convert(image.mode)
        canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return as_pixels(canvas)
    return as_pixels(_resize(image, side, side))


def fit_short(picture: np.ndarray, resolution: int, final: int) -> np.ndarray:
    """Bring the short side of a picture to a stage as training does; the whole picture and its aspect are kept.

    Of a square it makes what ``box_reduce(fit_square(picture, final, how), resolution)`` makes, to the bit.

    Args:
        picture: uint8.  # [H, W, C] -> [h, w, C], of which the shorter is ``resolution``
        resolution: pixels per side at the stage.
        final: pixels per side that training fits pictures to, a multiple of ``resolution``.
    """
    height, width = stage_size(picture.shape[0], picture.shape[1], resolution)
    factor = final // resolution
    image = _resize(as_image(picture), width * factor, height * factor)
    return as_pixels(image if factor == 1 else image.reduce(factor))


def stage_size(height: int, width: int, resolution: int) -> tuple[int, int]:
    """Height and width with the short side brought to ``resolution`` and the aspect kept."""
    short = min(height, width)
    return max(resolution, round(height * resolution / short)), max(resolution, round(width * resolution / short))


def box_reduce(picture: np.ndarray, resolution: int) -> np.ndarray:
    """Average blocks of pixels, rounded to the nearest grey level.

    Args:
        picture: uint8 square.  # [S, S, C] -> [resolution, resolution, C]
        resolution: a divisor of S.

    Raises:
        ValueError: ``resolution`` does not divide the side.
    """
    side = picture.shape[0]
    if side == resolution:
        return picture
    if resolution < 1 or side % resolution:
        raise ValueError(f"a picture of {side} px cannot be box-reduced to {resolution} px")
    return as_pixels(as_image(picture).reduce(side // resolution))
