"""Crop aligned CelebA to the 128 x 128 px that the experiments at this resolution use, and pack them.

    python datasets/celeba/prepare.py img_align_celeba.zip

Takes the archive of aligned pictures, or a folder of them, and writes ``images.zip`` beside this script.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common
import _packing as packing
from PIL import Image

HERE = Path(__file__).resolve().parent
COUNT = 202_599
ALIGNED = (178, 218)  # width, height
CENTRE, SIDE = (89, 121), 128  # of the square, as in the official code
BOX = (CENTRE[0] - SIDE // 2, CENTRE[1] - SIDE // 2, CENTRE[0] + SIDE // 2, CENTRE[1] + SIDE // 2)


def crop(name: str, file: Path | IO[bytes]) -> Image.Image:
    """The square of one aligned picture."""
    try:
        with Image.open(file) as picture:
            whole = picture.convert("RGB")
    except common.UNREADABLE:
        raise common.UsageError(f"{name} is not a readable picture") from None
    if whole.size != ALIGNED:
        raise common.UsageError(
            f"{name} is {whole.width} x {whole.height} px instead of {ALIGNED[0]} x {ALIGNED[1]}: "
            "take the aligned pictures as they were published"
        )
    return whole.crop(BOX)


def crops(source: Path, found: list[Path | str]) -> Iterator[tuple[str, Image.Image]]:
    """The square of every picture, by the name of its file."""
    if source.is_dir():
        for path in map(Path, found):
            yield f"{path.stem}.png", crop(str(path), path)
        return
    with zipfile.ZipFile(source) as archive:
        for name in map(str, found):
            with archive.open(name) as stream:
                yield f"{Path(name).stem}.png", crop(f"{source}: {name}", stream)


def main() -> None:
    """Find, count, crop and pack."""
    parser = common.Parser(description="Crop aligned CelebA to 128 x 128 px.")
    parser.add_argument("source", type=Path, help="img_align_celeba.zip, or the folder that is in it")
    parser.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: beside this script)"
    )
    parser.add_argument("--count", type=int, default=COUNT, help=f"pictures expected ({COUNT})")
    options = parser.parse_args()

    found = common.pictures_in(options.source)
    if len(found) != options.count:
        hint = " (30000 are CelebA-HQ, another set)" if len(found) == 30_000 else ""
        raise common.UsageError(f"{options.source} holds {len(found)} pictures instead of {options.count}{hint}")
    packing.pack(options.out, {"images.zip": crops(options.source, found)})


if __name__ == "__main__":
    common.run(main)
