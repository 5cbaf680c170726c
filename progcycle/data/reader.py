"""The picture files of a set, read one by one at full size as squares."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from progcycle.data.bit_depth import LowRange, is_16_bit_png
from progcycle.data.decode import BrokenPicture, decode_picture
from progcycle.data.fit import fit_square
from progcycle.data.source import Entry, Opener
from progcycle.errors import UserError
from progcycle.recipe import Pictures

PROBES = 16  # pictures that are read to find the range of 16-bit values


class PictureReader:
    """Reads the pictures of a set; picklable.

    Args:
        entries: the files.
        options: how a picture becomes a square, its background and channels.
        max_pixels: pictures of more pixels count as broken.
        opener: opens the entries; default: as files, members of zip files and pictures in stores.
    """

    def __init__(
        self, entries: Sequence[Entry], options: Pictures, max_pixels: int, opener: Opener | None = None
    ) -> None:
        self.entries, self.options, self.max_pixels = entries, options, max_pixels
        self._opener = opener or Opener()
        self._is_low: bool | None = None  # whether 16-bit values span a small range; None: not known yet

    def square(self, index: int, side: int) -> np.ndarray:
        """Picture number ``index`` as a square.  # [side, side, C] uint8

        Raises:
            BrokenPicture: it cannot be read.
            UnsupportedPicture: it has more than 8 bits; or 16, and the set's values span a small range.
        """
        # Twice the square is enough for a clean reduction; all stages share it, so that they show the same picture.
        try:
            picture = self._pixels(index, 2 * side)
        except LowRange:
            if self._low_range():
                raise
            picture = self._pixels(index, 2 * side, any_range=True)
        return fit_square(picture, side, self.options.fit, self.options.background)

    def _pixels(self, index: int, min_side: int, any_range: bool = False) -> np.ndarray:
        """A picture at its own size, or of a JPEG not much less than ``min_side``.  # [H, W, C] uint8"""
        return decode_picture(
            self._open(index),
            channels=self.options.channels,
            background=self.options.background,
            min_side=min_side,
            name=self.entries[index].name,
            max_pixels=self.max_pixels,
            any_range=any_range,
        )

    def _open(self, index: int) -> Path | BinaryIO:
        entry = self.entries[index]
        try:
            return self._opener.open(entry)
        except Exception as error:  # a zip member can fail in many ways: checksum, encryption, compression
            raise BrokenPicture(f"{entry.name}: this picture cannot be read ({error}).") from None

    def _low_range(self) -> bool:
        """Whether the set's 16-bit values span a small range, by up to 16 pictures from all over the set.

        If not, a picture of a small range is merely dark or nearly blank.
        """
        if self._is_low is None:
            low = wide = 0
            count = min(len(self.entries), PROBES)
            for index in (i * len(self.entries) // count for i in range(count)):
                try:
                    if self._is_16_bit(index):
                        self._pixels(index, 1)
                        wide += 1
                except LowRange:
                    low += 1
                except (UserError, OSError):  # reported when the picture itself is read
                    pass
            self._is_low = low >= wide
        return self._is_low

    def _is_16_bit(self, index: int) -> bool:
        file = self._open(index)
        with open(file, "rb") if isinstance(file, Path) else file as stream:
            return is_16_bit_png(stream.read(32))
