"""Make stacked digits, and single digits by class, of the handwritten digits that come with scikit-learn.

    pip install scikit-learn
    python datasets/digits/prepare.py

Writes ``stacked.zip`` and the folder ``single`` beside this script.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common
import _packing as packing
import numpy as np
from PIL import Image

from progcycle.errors import UserError
from progcycle.metrics.digits import digit_split, stack_digits, stack_labels

HERE = Path(__file__).resolve().parent
COUNT = 20_000


def stacks(count: int, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Pictures with a digit in each colour; a name ends in the three digits (red, green, blue)."""
    labels = stack_labels(count, seed, "train")
    for number, pixels in enumerate(stack_digits(count, seed, "train")):
        name = f"{number:06}_{''.join(map(str, labels[number]))}.png"
        yield name, Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def singles() -> Iterator[tuple[str, Image.Image]]:
    """The digits that stacks are made of, in grey, as ``class/number.png``."""
    for number, (pixels, digit) in enumerate(zip(*digit_split("train"), strict=True)):
        yield f"{digit}/{number:04}.png", Image.fromarray(pixels)


def main() -> None:
    """Stack and pack."""
    parser = common.Parser(description="Make stacked and single digits of scikit-learn's handwritten digits.")
    parser.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: beside this script)"
    )
    parser.add_argument("--count", type=int, default=COUNT, help=f"stacks ({COUNT})")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of digits (0)")
    options = parser.parse_args()
    if options.count < 1 or options.seed < 0:
        raise common.UsageError("--count is 1 or more, --seed 0 or more")
    try:
        digit_split("train")
    except UserError as error:
        raise common.UsageError(str(error)) from None
    packing.pack(options.out, {"stacked.zip": stacks(options.count, options.seed), "single": singles()})


if __name__ == "__main__":
    common.run(main)
