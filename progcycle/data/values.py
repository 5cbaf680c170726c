"""The values that a picture holds, of any depth and channels, and what a set wants of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from progcycle.blocks.levels import LUMINANCE, max_level
from progcycle.data.bit_depth import UnsupportedPicture
from progcycle.data.levels import Bits, Levels


@dataclass(frozen=True)
class Stored:
    """The values of one picture, upright.

    Attributes:
        values: as they are stored.  # [H, W, C]
        opacity: whether the last channel is opacity.
    """

    values: np.ndarray
    opacity: bool = False

    @property
    def bits(self) -> Bits:
        """The depth that such values belong to."""
        return bits_of(self.values.dtype)


def bits_of(dtype: np.dtype[Any]) -> Bits:
    """The depth that values of a type belong to: 8 and 16 of whole numbers of so many bits, else ``float``."""
    if dtype == np.uint8:
        return 8
    return 16 if dtype.kind in "iu" and dtype.itemsize <= 2 else "float"


class TooManyPixelsError(ValueError):
    """A picture of more pixels than are allowed; its text is their number."""


def turned(values: np.ndarray, orientation: int) -> np.ndarray:  # [H, W, C] or [W, H, C]
    """Values turned upright as the EXIF orientation says, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def as_wanted(stored: Stored, channels: int, levels: Levels, colour: tuple[int, int, int], name: str) -> np.ndarray:
    """Stored values of the depth and the channels that are wanted.

    Args:
        stored: what the file holds.
        channels: 1 makes grey of RGB, 3 RGB of grey; other numbers must be those of the file.
        levels: depth and window of the domain.
        colour: put behind transparent pixels, 255 being the high end of the window.
        name: what errors call it.

    Returns:
        Values; :meth:`Levels.pixels` makes pixels of them.  # [H, W, channels]

    Raises:
        UnsupportedPicture: it has another depth, or other channels.
        ValueError: it holds numbers that are not finite.
    """
    if stored.bits != levels.bits and levels.bits != "float":
        has = "floating point numbers" if stored.bits == "float" else f"{stored.bits} bits a channel"
        raise UnsupportedPicture(
            f"{name}: this picture has {has}, but those of this set are read as {levels.bits} bits (bits: "
            f"{levels.bits}); convert it, or take it out."
        )
    values = stored.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of its values are not finite")
    if stored.opacity and values.shape[2] != channels and values.shape[2] - 1 in (1, 3):
        values = _on_background(values, levels, colour)
    if (values.shape[2], channels) == (1, 3):
        values = np.repeat(values, 3, axis=2)
    elif (values.shape[2], channels) == (3, 1):
        values = (values @ np.array(LUMINANCE))[:, :, None]
    if values.shape[2] != channels:
        raise UnsupportedPicture(
            f"{name}: this picture has {values.shape[2]} channel{'s' * (values.shape[2] != 1)}, but channels is "
            f"{channels}; convert it, or change that."
        )
    return values


def _on_background(values: np.ndarray, levels: Levels, colour: tuple[int, int, int]) -> np.ndarray:
    top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1.0
    share = values[..., -1:] / top
    backdrop = np.array(colour) / max_level()
    backdrop = backdrop if values.shape[2] == 4 else backdrop @ np.array(LUMINANCE)
    mixed: np.ndarray = values[..., :-1] * share + (levels.low + backdrop * (levels.high - levels.low)) * (1 - share)
    return mixed
