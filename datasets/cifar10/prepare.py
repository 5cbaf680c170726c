"""Turn the Python version of CIFAR-10 into PNGs, a folder a class.

    python datasets/cifar10/prepare.py cifar-10-python.tar.gz

Takes the archive as it was downloaded, or the folder ``cifar-10-batches-py`` that is in it (torchvision keeps one), and
writes ``train.zip`` and ``test.zip`` beside this script.
"""

from __future__ import annotations

import io
import pickle
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common
import _packing as packing
import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN, TEST = tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",)
SIDE, BYTES = 32, 32 * 32 * 3


# ---------------------------------------------------------------- reading a batch
# The batches are pickles, and a pickle may name any function to call. These need the three names by which numpy arrays
# are pickled and no more; each stands for a class here that only keeps what it is given.


class _Kept:
    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.state = arguments, ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Kept):
    """A numpy array; its state is (version, shape, dtype, in Fortran order, bytes)."""


class _Dtype(_Kept):
    """A numpy dtype; its first argument is its code."""


_ARRAY_CLASS = "ndarray"


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): _Array,
            ("numpy._core.multiarray", "_reconstruct"): _Array,
            ("numpy", "ndarray"): _ARRAY_CLASS,
            ("numpy", "dtype"): _Dtype,
        }
        if (module, name) not in known:
            raise common.UsageError(f"it asks for {module}.{name}, which no batch of CIFAR-10 needs; nothing was run")
        return known[module, name]


def read_batch(where: str, raw: bytes, count: int) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Pictures [N, 32, 32, 3] and their classes."""
    try:
        batch = _Unpickler(io.BytesIO(raw), encoding="latin1").load()
        entries = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        data, labels = entries["data"], list(entries["labels"])
        _, shape, dtype, by_columns, content = data.state
        flat = np.frombuffer(content.encode("latin1") if isinstance(content, str) else content, np.uint8)
        code = dtype.arguments[0]
        plain = isinstance(data, _Array) and code in ("u1", b"u1") and not by_columns
        if not plain or tuple(shape) != (len(labels), BYTES) or not all(label in range(10) for label in labels):
            raise ValueError
        pictures = flat.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)  # stored as all red, all green, all blue
    except common.UsageError as error:
        raise common.UsageError(f"{where}: {error}") from None
    except Exception:  # an unpickler raises whatever the bytes make it
        raise common.UsageError(f"{where} is not a batch of CIFAR-10 in its Python version") from None
    if len(pictures) != count:
        raise common.UsageError(f"{where} holds {len(pictures)} pictures instead of {count}")
    return pictures, labels


def read_files(source: Path) -> dict[str, bytes]:
    """The six batches of an archive or folder, by name."""
    wanted = (*TRAIN, *TEST)
    if source.is_dir():
        inner = source / "cifar-10-batches-py"
        folder = inner if inner.is_dir() else source
        found = {name: (folder / name).read_bytes() for name in wanted if (folder / name).is_file()}
    elif source.is_file():
        found = dict(_members(source, wanted))
    else:
        raise common.UsageError(f"there is no archive or folder {source}")
    missing = [name for name in wanted if name not in found]
    if missing:
        raise common.UsageError(f"{source} has no {missing[0]}: README.md says which version of CIFAR-10 it takes")
    return found


def _members(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member) if Path(member.name).name in wanted else None
                if stream is not None:
                    yield Path(member.name).name, stream.read()
    except (tarfile.TarError, EOFError, zlib.error):
        raise common.UsageError(f"{path} is not a whole tar archive") from None


def pictures(batches: Mapping[str, tuple[np.ndarray[Any, Any], list[int]]]) -> Iterator[tuple[str, Image.Image]]:
    """Every picture as ``class/number.png``; the numbers go through all batches."""
    number = 0
    for content, labels in batches.values():
        for pixels, label in zip(content, labels, strict=True):
            yield f"{CLASSES[label]}/{number:05}.png", Image.fromarray(np.ascontiguousarray(pixels))
            number += 1


def main() -> None:
    """Read, check and pack."""
    parser = common.Parser(description="Turn the Python version of CIFAR-10 into PNGs.")
    parser.add_argument("source", type=Path, help="cifar-10-python.tar.gz, or the folder that is in it")
    parser.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: beside this script)"
    )
    parser.add_argument(
        "--count", type=int, default=10_000, help="pictures expected in each of the six batches (10000)"
    )
    options = parser.parse_args()

    files = read_files(options.source)
    train, test = (
        {name: read_batch(f"{options.source}: {name}", files[name], options.count) for name in names}
        for names in (TRAIN, TEST)
    )
    packing.pack(options.out, {"train.zip": pictures(train), "test.zip": pictures(test)})


if __name__ == "__main__":
    common.run(main)
