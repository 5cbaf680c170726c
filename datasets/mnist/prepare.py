"""Make MNIST-RGB of MNIST: pictures of 32 x 32 px, with a digit of its own in each colour.

    python datasets/mnist/prepare.py DIR

DIR holds the four files of MNIST (``train-images-idx3-ubyte`` and so on, with or without ``.gz``). Writes ``rgb.zip``,
the triples, and ``train.zip`` and ``test.zip``, the single digits by class, beside this script.
"""

from __future__ import annotations

import gzip
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common
import _packing as packing
import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
COUNT, SEED = 1_000_000, 123  # as in the official code
BORDER = 2  # of black on each side: 28 px become 32
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def read_idx(folder: Path, name: str, dimensions: int) -> Bytes:
    """An array of bytes in MNIST's format: 0 0 8 and the number of dimensions, their sizes, the bytes."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise common.UsageError(f"{folder} has neither {name} nor {name}.gz: README.md says what MNIST's files are")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if raw[:4] != bytes((0, 0, 8, dimensions)):
            raise ValueError
        shape = struct.unpack_from(f">{dimensions}I", raw, 4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (ValueError, struct.error, gzip.BadGzipFile, EOFError, zlib.error):
        raise common.UsageError(f"{path} is not whole, or is another file than MNIST's {name}") from None


def read_digits(folder: Path, part: str) -> tuple[Bytes, Bytes]:
    """Digits [N, 32, 32] and their classes [N] of the part ``train`` or ``t10k``."""
    digits, classes = read_idx(folder, f"{part}-images-idx3-ubyte", 3), read_idx(folder, f"{part}-labels-idx1-ubyte", 1)
    if digits.shape != (len(classes), 28, 28) or not len(classes) or classes.max() > 9:
        raise common.UsageError(f"{folder}: the pictures and the labels of {part} do not belong together")
    return np.pad(digits, ((0, 0), (BORDER, BORDER), (BORDER, BORDER))), classes


def triples(digits: Bytes, classes: Bytes, count: int, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Random triples of digits as red, green and blue, in the official order; a name ends in the three classes."""
    drawn = np.random.RandomState(seed)
    for number in range(count):
        chosen = drawn.randint(len(digits), size=3)
        red, green, blue = classes[chosen]
        yield (
            f"{number:07}_{red}{green}{blue}.png",
            Image.fromarray(np.ascontiguousarray(digits[chosen].transpose(1, 2, 0))),
        )


def singles(digits: Bytes, classes: Bytes) -> Iterator[tuple[str, Image.Image]]:
    """Every digit in grey, as ``class/number.png``."""
    for number, (digit, label) in enumerate(zip(digits, classes, strict=True)):
        yield f"{label}/{number:05}.png", Image.fromarray(digit)


def main() -> None:
    """Read, combine and pack."""
    parser = common.Parser(description="Make MNIST-RGB of MNIST.")
    parser.add_argument("source", type=Path, help="folder with the four files of MNIST")
    parser.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: beside this script)"
    )
    parser.add_argument("--count", type=int, default=COUNT, help=f"triples ({COUNT})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the choice of digits ({SEED})")
    options = parser.parse_args()
    if options.count < 1 or not 0 <= options.seed < 2**32:
        raise common.UsageError("--count is 1 or more, --seed 0 to 4294967295")

    train, test = read_digits(options.source, "train"), read_digits(options.source, "t10k")
    packing.pack(
        options.out,
        {
            "rgb.zip": triples(*train, options.count, options.seed),
            "train.zip": singles(*train),
            "test.zip": singles(*test),
        },
    )


if __name__ == "__main__":
    common.run(main)
