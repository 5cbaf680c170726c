"""HDF5 files with arrays ``data128x128`` and so on, as the tools of PG-GAN read them (``create_from_hdf5``)."""

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progcycle.data.containers.base import Container, Item, as_array, as_png, needs
from progcycle.data.source import LARGEST
from progcycle.errors import UserError

MAGIC = b"\x89HDF\r\n\x1a\n"
CHANNELS = (1, 3)


def is_hdf5(path: Path) -> bool:
    """Whether a path is an HDF5 file."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


@dataclass
class Hdf5(Container):
    """The largest array, [N, C, H, W] or [N, H, W, C]; classes from ``FILE-labels.npy`` beside the file."""

    kind = "an HDF5 file of pictures"
    takes = frozenset({"columns"})

    def items(self) -> list[Item]:
        """The pictures of the chosen array, or of two for two domains."""
        needs("h5py", "hdf5", self.path)
        try:
            arrays = [(name, self._array(name)) for name in self._names()]
        except UserError:
            raise
        except Exception as error:  # h5py's errors are of many kinds
            raise self.refused(error) from None
        items: list[Item] = []
        for domain, (name, array) in zip(("a", "b") if len(arrays) == 2 else ("",), arrays, strict=True):
            labels = self._labels(len(array))
            stamp = self.stamp_of(self.path)
            items += [Item(f"{i:07}", (name, i), stamp, labels[i], "train", domain) for i in range(len(array))]
        return items

    def _names(self) -> tuple[str, ...]:
        """Names of the chosen arrays."""
        import h5py

        file = _open(self.path, self.stamp_of(self.path), os.getpid())
        known = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
        known = [name for name in known if isinstance(file[name], h5py.Dataset)]
        for name in self.options.columns:
            if name not in known:
                raise UserError(
                    f"{self.path}: there is no array {name} for --column; see {', '.join(known) or 'none'}."
                )
        if self.options.columns:
            return self.options.columns
        sizes = {name: int(found[1]) for name in known if (found := re.fullmatch(r"data(\d{1,5})x\1", name))}
        if not sizes:
            raise UserError(
                f"{self.path}: no array is called data128x128 or so; choose by --column among {', '.join(known)}."
            )
        return (max(sizes, key=lambda name: sizes[name]),)

    def _array(self, name: str) -> Any:
        array = _open(self.path, self.stamp_of(self.path), os.getpid())[name]
        if array.external or array.is_virtual:
            raise self.refused(f"the array {name} lies in other files")
        shape = array.shape
        if len(shape) != 4 or not {shape[1], shape[3]} & set(CHANNELS) or 0 in shape:
            raise UserError(f"{self.path}: the array {name} has the shape {shape}; pictures are [N, 3, H, W] or so.")
        if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
            raise UserError(f"{self.path}: the array {name} holds {array.dtype}, which are no numbers of pictures.")
        if int(np.prod(shape[1:], dtype=object)) > LARGEST:
            raise self.refused(f"a picture of the array {name} would have {shape[1:]} numbers")
        return array

    def _labels(self, count: int) -> list[int | None]:
        """Classes from the file beside: numbers, or a column for each class."""
        file = self.path.with_name(f"{self.path.stem}-labels.npy")
        if not file.is_file():
            return [None] * count
        try:
            labels = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{file}: classes that cannot be read ({error}).") from None
        one_hot = labels.ndim == 2 and bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())
        labels = labels.argmax(axis=1) if one_hot else labels
        if labels.shape != (count,) or not np.array_equal(labels, labels.astype(np.int64)):
            raise UserError(f"{file} has the shape {labels.shape}; it must have a class for each of {count} pictures.")
        return [int(label) for label in labels]

    def read(self, item: Item) -> bytes:
        """A picture as PNG; of more than 8 bits as a numpy array."""
        name, index = item.place
        pixels = np.asarray(self._array(name)[index])
        pixels = pixels.transpose(1, 2, 0) if pixels.shape[0] in CHANNELS else pixels
        return as_png(pixels) if pixels.dtype == np.uint8 and pixels.shape[2] in CHANNELS else as_array(pixels)


@functools.lru_cache(maxsize=2)
def _open(path: Path, stamp: str, process: int) -> Any:
    """The open file; each process has its own."""
    import h5py

    return h5py.File(path, "r")
