"""The picture files of a set, read one by one at full size: in the shape of the resolution, or crops of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from progcycle.data.bit_depth import LowRange, is_16_bit_png
from progcycle.data.crop import Crop
from progcycle.data.decode import HEAD, BrokenPicture, decode_picture, parse_colour
from progcycle.data.fit import fit_to
from progcycle.data.kinds import extension_of
from progcycle.data.levels import Bits, Levels
from progcycle.data.region import Choose
from progcycle.data.scale import load_side
from progcycle.data.source import Entry, Opener
from progcycle.data.stored import read_bits
from progcycle.data.values import Stored, as_wanted
from progcycle.data.volumes import VolumeReader
from progcycle.errors import UserError
from progcycle.recipe import RANDOM_CROP, Pictures
from progcycle.resolution import Resolution

ALWAYS_8 = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib"})
PROBES = 16  # pictures that are read to find the range of 16-bit values


class PictureReader:
    """Reads the pictures of a set; picklable.

    Args:
        entries: the files.
        options: how a picture gets the resolution's shape, its background and channels.
        max_pixels: pictures of more pixels count as broken.
        opener: opens the entries; default: as files, members of zip files and pictures in stores.
    """

    def __init__(
        self, entries: Sequence[Entry], options: Pictures, max_pixels: int, opener: Opener | None = None
    ) -> None:
        self.entries, self.options, self.max_pixels = entries, options, max_pixels
        self.levels = Levels.of(options)
        self._opener = opener or Opener()
        self._volumes = VolumeReader(self._opener)
        self._is_low: bool | None = None  # whether 16-bit values span a small range; None: not known yet

    def fitted(self, index: int, resolution: int) -> np.ndarray:
        """Picture number ``index``, made one of a resolution.  # [h, w, C]

        Raises:
            BrokenPicture: it cannot be read.
            UnsupportedPicture: it has another depth than the set; or 16 bits, and 8 are wanted of a small range.
        """
        # Twice the size is enough for a clean reduction; all stages share it, so that they show the same picture.
        enough = 2 * Resolution.of(resolution).longer
        try:
            picture = self._pixels(index, enough)
        except LowRange:
            if self._low_range():
                raise
            picture = self._pixels(index, enough, any_range=True)
        return fit_to(picture, resolution, self.options.fit, self.options.background)

    def crop(self, index: int, crop: Crop) -> np.ndarray:
        """A crop of picture number ``index``; no more of it is decoded than its format asks for.

        Args:
            index: in the order of the entries.
            crop: where it lies, and its size.

        Returns:
            Pixels.  # [crop.height, crop.width, C]

        Raises:
            BrokenPicture: it cannot be read, or is smaller than the crop.
            UnsupportedPicture: as :meth:`fitted`.
        """
        enough = None if crop.load is None else 2 * Resolution.of(crop.load).longer
        try:
            part = self._pixels(index, enough, choose=crop.region)
        except LowRange:
            if self._low_range():
                raise
            part = self._pixels(index, enough, any_range=True, choose=crop.region)
        return crop.of(part)

    def middle(self, index: int, resolution: int) -> np.ndarray:
        """The middle of picture number ``index`` at the size at which training loads it.  # [resolution, resolution, C]

        Raises:
            BrokenPicture, UnsupportedPicture: as :meth:`crop`.
        """
        size, load = Resolution.of(resolution), load_side(self.options, resolution)
        if self.options.fit == RANDOM_CROP or load is None:
            return self.crop(index, Crop(self.entries[index].name, *size.shape, load))
        top, left = ((side - wanted) // 2 for side, wanted in zip(load.shape, size.shape, strict=True))
        whole = self.fitted(index, load)
        return np.ascontiguousarray(whole[top : top + size.height, left : left + size.width])

    def values(self, index: int, any_range: bool = False, min_side: int | None = None) -> np.ndarray:
        """The values of picture number ``index`` as they are stored, at its own size.  # [H, W, C]

        Args:
            index: in the order of the entries.
            any_range: where 8 bits are wanted, take the upper bytes of 16 also where few different ones are left.
            min_side: as of :func:`decode_picture`.

        Raises:
            BrokenPicture: it cannot be read.
            UnsupportedPicture: it has another depth or other channels than the set.
        """
        return self._pixels(index, min_side, any_range=any_range, values=True)

    def bits(self, index: int) -> Bits:
        """The depth of picture number ``index`` by its header.

        Raises:
            BrokenPicture: it cannot be read.
        """
        name = self.entries[index].name
        if extension_of(name) in ALWAYS_8:
            return 8
        if self.entries[index].slice is not None:
            return self._slice(index).bits
        file = self._open(index)
        try:
            with open(file, "rb") if isinstance(file, Path) else file as stream:
                head = stream.read(HEAD)
                stream.seek(0)
                return read_bits(stream, head)
        except Exception as error:  # damaged files make decoders raise nearly anything
            raise BrokenPicture(f"{name}: this picture cannot be read ({error}).") from None

    def _pixels(
        self,
        index: int,
        min_side: int | None,
        any_range: bool = False,
        values: bool = False,
        choose: Choose | None = None,
    ) -> np.ndarray:
        """A picture, or a region of it, at its own size, or of a JPEG not much less than ``min_side``.  # [H, W, C]"""
        if self.entries[index].slice is not None:
            found = self._wanted(self._slice(index), index)
            if choose is not None:
                found = found[choose(*found.shape[:2]).slices]
            return found if values else self.levels.pixels(found)
        return decode_picture(
            self._open(index),
            channels=self.options.channels,
            background=self.options.background,
            min_side=min_side,
            name=self.entries[index].name,
            max_pixels=self.max_pixels,
            any_range=any_range,
            levels=self.levels,
            values=values,
            choose=choose,
        )

    def _slice(self, index: int) -> Stored:
        entry = self.entries[index]
        assert entry.slice is not None
        try:
            return self._volumes(entry).slice(self.options.volumes.axis, entry.slice)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # damaged files make libraries raise nearly anything
            raise BrokenPicture(f"{entry.name}: this volume cannot be read ({error}).") from None

    def _wanted(self, stored: Stored, index: int) -> np.ndarray:
        name = self.entries[index].name
        try:
            return as_wanted(stored, self.options.channels, self.levels, parse_colour(self.options.background), name)
        except ValueError as error:
            raise BrokenPicture(f"{name}: this picture cannot be read ({error}).") from None

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
