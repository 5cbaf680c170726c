"""CIFAR-10 and CIFAR-100 as they are distributed for Python: pickles, of which nothing but arrays is loaded."""

import functools
import io
import pickle
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progcycle.data.containers.base import Container, Item, as_png
from progcycle.data.source import LARGEST

# File names of the batches and of the classes' names, keys of the classes in both, by data set.
SETS = {
    "CIFAR-10": (
        {**{f"data_batch_{i}": "train" for i in range(1, 6)}, "test_batch": "test"},
        "batches.meta",
        ("labels", "label_names"),
    ),
    "CIFAR-100": ({"train": "train", "test": "test"}, "meta", ("fine_labels", "fine_label_names")),
}
ARCHIVES = {"cifar-10-python.tar.gz": "CIFAR-10", "cifar-100-python.tar.gz": "CIFAR-100"}
SIDE = 32
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def is_cifar(path: Path) -> bool:
    """Whether a path is one of the two archives, or the folder that was unpacked from it."""
    return _kind(path) is not None


def _kind(path: Path) -> str | None:
    if path.is_file():
        return ARCHIVES.get(path.name)
    for kind, (batches, meta, _) in SETS.items():
        if (path / meta).is_file() and any((path / name).is_file() for name in batches):
            return kind
    return None


@dataclass
class Cifar(Container):
    """32x32 px in colour, with classes."""

    kind = "CIFAR"
    takes = frozenset[str]()

    def items(self) -> list[Item]:
        """The pictures of all batches that are there."""
        kind = _kind(self.path) or ""
        batches, meta, (key, names_key) = SETS[kind]
        names = self._load(meta).get(names_key, [])
        items: list[Item] = []
        for batch, split in batches.items():
            if (content := self._load(batch)) == {}:
                self.remark(f"the batch {batch} is not there")
                continue
            pixels, labels = self._pixels(batch, content), content.get(key, [])
            if not isinstance(labels, list) or len(labels) != len(pixels) or not isinstance(names, list):
                raise self.refused(f"{batch} has no class for each of its {len(pixels)} pictures")
            for i, label in enumerate(labels):
                if type(label) is not int or label < 0:
                    raise self.refused(f"{batch} has the class {str(label)[:40]!r}")
                name = str(names[label]) if label < len(names) else label
                items.append(Item(f"{batch}/{i:05}", (batch, i), self._stamp(batch), name, split))
        return items

    def _pixels(self, batch: str, content: dict[str, Any]) -> np.ndarray:  # [N, 3, 32, 32]
        data = content.get("data")
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3 * SIDE * SIDE,):
            raise self.refused(f"{batch} holds no array of pictures, uint8 of 3072 columns")
        return data.reshape(-1, 3, SIDE, SIDE)

    def _load(self, name: str) -> dict[str, Any]:
        """The content of a file; {} where it is not there."""
        try:
            return _contents(self.path, self._stamp(name), name)
        except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error, pickle.UnpicklingError) as error:
            raise self.refused(f"{name}: {error}") from None

    def _stamp(self, name: str) -> str:
        file = self.path / name if self.path.is_dir() else self.path
        return self.stamp_of(file) if file.is_file() else ""

    def read(self, item: Item) -> bytes:
        """A picture as PNG."""
        batch, index = item.place
        return as_png(self._pixels(batch, self._load(batch))[index].transpose(1, 2, 0))


@functools.lru_cache(maxsize=8)
def _contents(path: Path, stamp: str, name: str) -> dict[str, Any]:
    if path.is_dir():
        file = path / name
        return load_arrays(_limited(file.stat().st_size, file.read_bytes)) if file.is_file() else {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            if member.isreg() and member.name.rpartition("/")[2] == name:
                stream = archive.extractfile(member)
                return {} if stream is None else load_arrays(_limited(member.size, stream.read))
    return {}


def _limited(size: int, read: Any) -> bytes:
    if size > LARGEST:
        raise ValueError(f"it has {size} bytes, more than {LARGEST}")
    content: bytes = read()
    return content


class _Unpickler(pickle._Unpickler):
    """Loads numbers, texts and numpy arrays. In Python and not in C, which allocates what a pickle asks for."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}, which is no part of an array; refused")
        return super().find_class(module, name)


def load_arrays(content: bytes) -> dict[str, Any]:
    """A dictionary of a pickle, in which there is nothing but numbers, texts, lists and numpy arrays.

    Raises:
        pickle.UnpicklingError: something else is in it, which is named and not loaded.
        ValueError: it is no pickle, or not of a dictionary.
    """
    try:
        found = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"it is a damaged pickle ({str(error)[:200] or type(error).__name__})") from None
    if not isinstance(found, dict):
        raise ValueError(f"its pickle is not a dictionary but {type(found).__name__}")
    return {str(key): value for key, value in found.items()}
