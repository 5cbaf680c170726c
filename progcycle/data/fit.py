"""From a picture of any size to the shape of the resolution, and from the final resolution down to a stage."""

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image

from progcycle.blocks.levels import max_level
from progcycle.data.decode import parse_colour
from progcycle.data.levels import FULL, Levels
from progcycle.data.pixels import changed, in_range
from progcycle.recipe import RANDOM_CROP
from progcycle.resolution import Resolution

AT_ONCE = 1 << 20  # pixels
TALL = 2  # squares; taller pictures are resized in another order


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), filter_for(width < image.width or height < image.height))


def filter_for(shrinks: bool) -> Image.Resampling:
    """How pictures are resized, where one of their sides shrinks and where none does."""
    return Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC


def fit_to(
    picture: np.ndarray,
    resolution: int,
    how: Literal["crop", "pad", "stretch", "random_crop"],
    background: str = "white",
) -> np.ndarray:
    """Make a picture one of a resolution: a square, or a rectangle.

    Args:
        picture: uint8, levels of 16 bits, or floating point in [-1, 1].  # [H, W, C] -> [h, w, C]
        resolution: h and w; a plain number is a square's.
        how: "crop" keeps the largest part in the middle that has the shape h x w, and so does "random_crop" (where one
            is random, it is made by :class:`progcycle.data.crop.Crop`), "pad" the whole picture with bars of the
            background colour, "stretch" the whole picture without its proportions.
        background: colour of the bars.
    """
    height, width = picture.shape[:2]
    h, w = Resolution.of(resolution).shape
    wider = width * h - height * w  # above 0: than the resolution's shape; below 0: higher
    if how in ("crop", RANDOM_CROP):
        rows = height if wider >= 0 else max(round(width * h / w), 1)
        columns = width if wider <= 0 else max(round(height * w / h), 1)
        left, top = (width - columns) // 2, (height - rows) // 2
        picture = np.ascontiguousarray(picture[top : top + rows, left : left + columns])
    if how == "pad" and wider:
        across = w if wider > 0 else max(round(width * h / height), 1)
        down = h if wider < 0 else max(round(height * w / width), 1)
        small = changed(picture, lambda image: _resize(image, across, down))
        canvas = np.empty((h, w, picture.shape[2]), picture.dtype)
        canvas[:] = _backdrop(background, picture)
        left, top = (w - across) // 2, (h - down) // 2
        canvas[top : top + down, left : left + across] = small
        return canvas
    return changed(picture, lambda image: _resize(image, w, h))


def _backdrop(background: str, picture: np.ndarray) -> np.ndarray:
    """A colour as pixels like those of a picture; white is the highest level, and opaque.  # [C]"""
    channels = picture.shape[2]
    colour = Image.new("RGB", (1, 1), parse_colour(background))
    pixel = np.array(colour.convert("L") if channels in (1, 2) else colour).reshape(-1)
    if channels not in (1, 3):
        grey = np.array(colour.convert("L")).reshape(-1)
        pixel = np.append(pixel, max_level()) if channels in (2, 4) else np.repeat(grey, channels)
    if picture.dtype == np.uint8:
        return pixel
    levels = Levels("float", *FULL[8]) if picture.dtype.kind == "f" else Levels(16, *FULL[8])
    return levels.pixels(pixel)


def fit_short(picture: np.ndarray, resolution: int, final: int) -> np.ndarray:
    """Bring a picture to the scale of a stage as training does; the whole picture and its aspect are kept.

    It just covers the stage's shape: of squares, its short side is brought to theirs. Of a picture of that shape it
    makes what ``box_reduce(fit_to(picture, final, how), resolution)`` makes, to the bit.

    Args:
        picture: uint8, levels of 16 bits, or floating point in [-1, 1].
            # [H, W, C] -> [h, w, C], see :func:`stage_size`
        resolution: of the stage.
        final: that training fits pictures to, a multiple of ``resolution``.
    """
    height, width = stage_size(picture.shape[0], picture.shape[1], resolution)
    factor = int(final) // int(resolution)

    def fitted(image: Image.Image) -> Image.Image:
        image = _resize(image, width * factor, height * factor)
        return image if factor == 1 else image.reduce(factor)

    return changed(picture, fitted)


def fit_short_by_bands(
    read: Callable[[int, int, int, int], np.ndarray], height: int, width: int, resolution: int, final: int
) -> np.ndarray:
    """What :func:`fit_short` makes of a picture, which is read a few rows or columns at a time; to the bit.

    Args:
        read: the pixels of a rectangle: first row, below its last, first column, behind its last.  # [h, w, C]
        height: of the picture.
        width: of the picture.
        resolution: see there.
        final: see there.
    """
    factor = int(final) // int(resolution)
    down, across = (side * factor for side in stage_size(height, width, resolution))
    how = filter_for(across < width or down < height)
    by_columns = down < height > TALL * width and _tall_first_down()
    length, other = (width, height) if by_columns else (height, width)
    strips, step = [], max(1, AT_ONCE // other)
    for i in range(0, length, step):
        j = min(i + step, length)
        pixels = read(0, height, i, j) if by_columns else read(i, j, 0, width)
        dtype = pixels.dtype
        numbers = pixels if dtype == np.uint8 else pixels.astype(np.float32)
        size = (j - i, down) if by_columns else (across, j - i)
        planes = (Image.fromarray(np.ascontiguousarray(numbers[..., c])) for c in range(pixels.shape[2]))
        strips.append([np.asarray(plane.resize(size, how)) for plane in planes])
    found = []
    for parts in zip(*strips, strict=True):
        plane = Image.fromarray(np.concatenate(parts, axis=int(by_columns))).resize((across, down), how)
        found.append(np.asarray(plane.reduce(factor) if factor > 1 else plane))
    values = np.stack(found, axis=2)
    return values if dtype == np.uint8 else in_range(values, dtype)


@functools.cache
def _tall_first_down() -> bool:
    """Whether this Pillow resizes pictures that are taller than two squares down first, and then across.

    The grey levels between the two are rounded, so that the order counts.
    """
    tall = Image.fromarray(np.random.default_rng(0).integers(0, max_level(), (250, 100), np.uint8))
    how = Image.Resampling.LANCZOS
    at_once, down_first = tall.resize((20, 50), how), tall.resize((100, 50), how).resize((20, 50), how)
    return at_once.tobytes() == down_first.tobytes()


def stage_size(height: int, width: int, resolution: int) -> tuple[int, int]:
    """Height and width with the aspect kept that just cover a resolution; of a square, the short side has its side."""
    h, w = Resolution.of(resolution).shape
    if width * h >= height * w:
        return h, max(w, round(width * h / height))
    return max(h, round(height * w / width)), w


def box_reduce(picture: np.ndarray, resolution: int) -> np.ndarray:
    """Average blocks of pixels, rounded to the nearest grey level.

    Args:
        picture: uint8, levels of 16 bits, or floating point in [-1, 1].  # [H, W, C] -> [h, w, C]
        resolution: h and w, of which H and W are the same multiple; a plain number is a square's.

    Raises:
        ValueError: they are not.
    """
    size, wanted = Resolution(*picture.shape[:2]), Resolution.of(resolution)
    if size.shape == wanted.shape:
        return picture
    if not wanted.divides(size):
        raise ValueError(f"a picture of {size} px cannot be box-reduced to {wanted} px")
    return changed(picture, lambda image: image.reduce(int(size) // int(wanted)))
