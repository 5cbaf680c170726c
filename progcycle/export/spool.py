"""Pixels of a large picture in a nameless file, read and written by rectangles, so that memory never holds them all."""

import contextlib
import ctypes
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from progcycle.errors import UserError

M_MMAP_THRESHOLD, LARGE = -3, 1 << 20  # of mallopt, and bytes


def return_freed_memory() -> None:
    """Let the C library give large blocks back to the system as soon as they are freed, in the whole process.

    That of GNU keeps those below 32 MB for later. Small blocks in between make them useless, so that a process grows.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


class Spool:
    """A picture in a file of its own.

    Args:
        file: an empty file that can be read, written and sought.
        height: of the picture.
        width: of the picture.
        channels: of the picture.
        dtype: of its pixels.
    """

    def __init__(self, file: BinaryIO, height: int, width: int, channels: int, dtype: np.dtype[Any]) -> None:
        self.file, self.height, self.width, self.channels, self.dtype = file, height, width, channels, dtype
        self._pixel = channels * dtype.itemsize

    @classmethod
    @contextlib.contextmanager
    def beside(cls, target: Path, name: str, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Iterator["Spool"]:
        """A picture in a file of the folder of ``target``, which is gone when the process is.

        Args:
            target: where there is room for another file of this size.
            name: what errors call the picture.
            shape: height, width and channels.
            dtype: of the pixels.

        Raises:
            UserError: the disk has no room for it.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if needed > (free := shutil.disk_usage(target.parent).free):
            raise UserError(
                f"{name}: in tiles it needs {needed / 1e9:.1f} GB in {target.parent} while it is translated, and "
                f"{free / 1e9:.1f} GB are free; make room, or write to another disk."
            )
        with tempfile.TemporaryFile(dir=target.parent, prefix=".tiles.") as file:
            yield cls(file, *shape, dtype)

    def write(self, top: int, left: int, pixels: np.ndarray) -> None:
        """Write a rectangle whose first pixel is at ``top`` and ``left``.  # [h, w, C]"""
        if pixels.shape[1] == self.width:
            self.file.seek(top * self.width * self._pixel)
            self.file.write(np.ascontiguousarray(pixels, self.dtype).data)
            return
        for i, row in enumerate(np.ascontiguousarray(pixels, self.dtype), start=top):
            self.file.seek((i * self.width + left) * self._pixel)
            self.file.write(row.data)

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> np.ndarray:
        """The pixels of rows ``top`` to below ``bottom`` and columns ``left`` to below ``right``.  # [h, w, C]"""
        right = self.width if right is None else right
        pixels = np.empty((bottom - top, right - left, self.channels), self.dtype)
        rows = [pixels] if right - left == self.width else pixels
        for i, row in enumerate(rows, start=top):
            self.file.seek((i * self.width + left) * self._pixel)
            if self.file.readinto(memoryview(row).cast("B")) != row.nbytes:  # type: ignore[attr-defined]
                raise OSError("a temporary file of the picture is cut off")
        return pixels
