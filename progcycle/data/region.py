"""A rectangle of a picture, and what a file has to be read of for it."""

from collections.abc import Callable
from typing import NamedTuple

PREFIX = b"\xff"  # of a marker of a JPEG
START_OF_FRAME = (0xC0, 0xC1, 0xC2)  # markers: baseline, extended, progressive (ITU-T T.81, table B.1)
WITHOUT_LENGTH = (0xD8, 0xD9, 0xDA)  # start, end, and start of the data, after which no header follows
MCU_ROWS = 32  # pixels of the tallest block row of a JPEG


class Region(NamedTuple):
    """A rectangle of pixels: of the first row and column, and how many of them."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Of an array of the whole picture.  # [H, W, ...]"""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as Pillow has it."""
        return self.left, self.top, self.left + self.width, self.top + self.height


Choose = Callable[[int, int], Region]
"""Which region is wanted of an upright picture of some height and width."""


def is_swapped(orientation: int) -> bool:
    """Whether an EXIF orientation, 1 to 8, makes rows of columns."""
    return orientation in (5, 6, 7, 8)


def as_stored(region: Region, height: int, width: int, orientation: int) -> Region:
    """Where a region of an upright picture lies in its file, see :func:`progcycle.data.values.turned`.

    Args:
        region: of the upright picture.
        height, width: of the upright picture.
        orientation: of EXIF, 1 to 8.
    """
    top, left, rows, columns = region
    if orientation in (2, 3, 6, 7):
        left = width - left - columns
    if orientation in (3, 4, 7, 8):
        top = height - top - rows
    return Region(left, top, columns, rows) if is_swapped(orientation) else Region(top, left, rows, columns)


def shortened_jpeg(content: bytes, rows: int) -> bytes:
    """A JPEG whose header promises no more rows than are wanted, so that a decoder ends there.

    The rows are the same to the bit: a row of blocks depends on the one below by the interpolation of its colours only.

    Args:
        content: of the file.
        rows: that are wanted, from the top.

    Returns:
        The file with another height, or as it is where that saves nothing or its header is unusual.
    """
    at = 2
    while at + 9 <= len(content) and content[at : at + 1] == PREFIX:
        marker = content[at + 1]
        if marker == PREFIX[0]:  # it may be repeated
            at += 1
            continue
        if marker in WITHOUT_LENGTH:
            break
        if marker in START_OF_FRAME:
            needed = (rows // MCU_ROWS + 2) * MCU_ROWS
            if needed >= int.from_bytes(content[at + 5 : at + 7], "big"):
                break
            return content[: at + 5] + needed.to_bytes(2, "big") + content[at + 7 :]
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content
