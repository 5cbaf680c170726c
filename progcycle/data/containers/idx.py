"""MNIST and data sets of its format, such as Fashion-MNIST and KMNIST: arrays in idx files, perhaps in gzip."""

import functools
import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progcycle.data.containers.base import Container, Item, as_png
from progcycle.data.source import LARGEST
from progcycle.errors import UserError

GZIP = b"\x1f\x8b"
PAD = {28: 2}  # pixels of black around pictures of a side, which makes it a power of two, as is usual
SPLITS = {"train": "train", "t10k": "test"}


def is_idx(path: Path) -> bool:
    """Whether a path is an idx file of pictures, or a folder with some."""
    return bool(_files(path))


def _files(path: Path) -> dict[str, Path]:
    """Files of pictures by split."""
    if path.is_file():
        split = SPLITS.get(path.name.partition("-")[0], "train")
        return {split: path} if _is_images(path) else {}
    found: dict[str, Path] = {}
    for start, split in SPLITS.items():
        for file in sorted(path.glob(f"{start}-images*idx3-ubyte*")) if path.is_dir() else ():
            if file.is_file():
                found.setdefault(split, file)
    return found


def _is_images(file: Path) -> bool:
    with open(file, "rb") as stream:
        return "idx3-ubyte" in file.name or stream.read(4) == struct.pack(">HBB", 0, 8, 3)


@dataclass
class Idx(Container):
    """Digits and the like."""

    kind = "an idx file of pictures (MNIST)"
    takes = frozenset[str]()

    def items(self) -> list[Item]:
        """The pictures with their classes, where the file of these lies beside them."""
        items: list[Item] = []
        for split, file in _files(self.path).items():
            images = self._array(file, 3)
            place = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
            other = place.with_suffix("") if place.suffix == ".gz" else place.with_name(f"{place.name}.gz")
            labels = next((self._array(f, 1) for f in (place, other) if f != file and f.is_file()), None)
            if labels is not None and len(labels) != len(images):
                raise UserError(f"{place} has {len(labels)} classes for the {len(images)} pictures of {file}.")
            stamp = self.stamp_of(file)
            if (pad := PAD.get(images.shape[1])) is not None and images.shape[1] == images.shape[2]:
                side = images.shape[1]
                self.remark(
                    f"{side}x{side} px, with {pad} px of black around them: {side + 2 * pad}x{side + 2 * pad} px"
                )
            for i in range(len(images)):
                label = None if labels is None else int(labels[i])
                items.append(Item(f"{split}/{i:06}", (str(file), i), stamp, label, split))
        return items

    def _array(self, file: Path, axes: int) -> np.ndarray:
        try:
            return read_idx(file, self.stamp_of(file), axes)
        except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
            raise self.refused(f"{file.name}: {error}") from None

    def read(self, item: Item) -> bytes:
        """A picture as PNG, padded."""
        file, index = item.place
        picture = self._array(Path(file), 3)[index]
        pad = PAD.get(picture.shape[0], 0) if picture.shape[0] == picture.shape[1] else 0
        return as_png(np.pad(picture, pad))


@functools.lru_cache(maxsize=4)
def read_idx(file: Path, stamp: str, axes: int) -> np.ndarray:
    """The array of an idx file of bytes.

    Args:
        file: with its header in front, perhaps compressed.
        stamp: of the file, so that a change is noticed.
        axes: that the array must have.

    Raises:
        ValueError: the header is of something else, or lies about the size.
        OSError, EOFError, zlib.error: the file cannot be read.
    """
    with open(file, "rb") as stream:
        packed = stream.read(2) == GZIP
    with gzip.open(file, "rb") if packed else open(file, "rb") as stream:
        head = stream.read(4 + 4 * axes)
        if head[:4] != struct.pack(">HBB", 0, 8, axes):
            raise ValueError(f"it does not begin as an array of bytes with {axes} axes")
        shape = struct.unpack(f">{axes}I", head[4:])
        size = math.prod(shape)
        if size > LARGEST:
            raise ValueError(f"its header promises {size} bytes, more than {LARGEST}")
        content = stream.read(size + 1)
    if len(content) != size:
        more = "more than" if len(content) > size else f"{len(content)} of"
        raise ValueError(f"it has {more} the {size} bytes that its header promises")
    return np.frombuffer(content, np.uint8).reshape(shape)
