"""Rebuild the Kai set: printed Chinese characters (A) and brush-written ones (B), 64 px; or draw it at another size.

    python datasets/kai/prepare.py
    python datasets/kai/prepare.py --resolution 128 --out datasets/kai_128

Fetches the Debian packages fonts-arphic-uming and fonts-arphic-ukai with apt, or takes the packages or the fonts
themselves with ``--uming`` and ``--ukai``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
LICENCE = "ARPHICPL.TXT"
FOLDER = "usr/share/fonts/truetype/arphic"
# Both collections hold CN, HK, TW and TW MBE. GB2312 is the standard of the mainland, so its forms are those of CN.
FACE = 0
# The em box, in font units: both fonts give the same ascender and descender (OS/2 table) and centre their characters
# in the box between these. hhea gives others, which differ between the two and are no box.
EM, ASCENDER = 1024, 900
OVERSAMPLING = 8  # drawn so much larger, then averaged: smoother than the renderer alone, and hinting changes nothing
KEPT, TEST = 3755, 300


class Font(NamedTuple):
    """A font collection: its package, the version of it that is known, and the SHA-256 of the collection."""

    package: str
    version: str
    file: str
    sha256: str


UMING = Font(
    "fonts-arphic-uming",
    "0.2.20080216.2-11",
    "uming.ttc",
    "fe952e55617275142d9cefd4d79eade4df446517b0478b2567d9bc7df49f70e2",
)
UKAI = Font(
    "fonts-arphic-ukai",
    "0.2.20080216.2-5",
    "ukai.ttc",
    "cfc758e69386a21bade8cb3b373fda20d7f2fac6e8904ced2ded98588b63e274",
)


def characters() -> list[str]:
    """The 3,755 characters of GB2312 level 1 (rows 16 to 55), the most frequent ones, in the order of the standard."""
    cells = (bytes([0xA0 + row, 0xA0 + cell]) for row in range(16, 56) for cell in range(1, 95))
    found = [char for cell in cells for char in cell.decode("gb2312", "ignore")]
    common.expect("characters in GB2312 level 1", len(found), KEPT)
    return found


def find_font(font: Font, given: Path | None, scratch: Path) -> Path:
    """The font collection: ``given``, or from the Debian package ``given``, or from one that apt fetches.

    Raises:
        UsageError: it is not to be had, or is another than the one that the set was drawn with.
    """
    if given is not None and given.suffix.lower() == ".ttc":
        path = given
    else:
        path = (
            common.fetch_debian(font.package, given, scratch, f"--{font.file.removesuffix('.ttc')}")
            / FOLDER
            / font.file
        )
    if not path.is_file():
        raise common.UsageError(f"there is no font {path}; version {font.version} of {font.package} is needed")
    if sha256(path.read_bytes()).hexdigest() != font.sha256:
        raise common.UsageError(
            f"{path} is another font than that of {font.package} {font.version}, which is needed for the same pictures"
        )
    return path


def draw(path: Path, resolution: int = common.SIZE) -> Mapping[str, Image.Image]:
    """Characters by code point ("4e00"), black on white in 8 bits, the picture being the em box."""
    side = resolution * OVERSAMPLING
    font = ImageFont.truetype(path, side, index=FACE, layout_engine=ImageFont.Layout.BASIC)

    def one(name: str) -> Image.Image:
        picture = Image.new("L", (side, side), "white")
        baseline = side * ASCENDER // EM
        ImageDraw.Draw(picture).text((0, baseline), chr(int(name, 16)), fill="black", font=font, anchor="ls")
        return picture.reduce(OVERSAMPLING)

    return common.Drawn((f"{ord(char):x}" for char in characters()), one)


def main() -> None:
    """Fetch, draw, split and write the set."""
    parser = common.Parser(description="Rebuild the Kai data set.")
    for font in (UMING, UKAI):
        parser.add_argument(
            f"--{font.file.removesuffix('.ttc')}",
            type=Path,
            metavar="FILE",
            help=f"the package {font.package}, or {font.file}, if it is here already",
        )
    common.add_variants(parser, HERE)
    options = parser.parse_args()
    common.check_variants(options, HERE)

    with common.scratch_beside(options.out) as scratch:
        printed, brushed = (
            draw(find_font(font, given, scratch), options.resolution)
            for font, given in ((UMING, options.uming), (UKAI, options.ukai))
        )
        common.refuse_foreign(options.out, ("trainA", "trainB", "testA", "testB"), printed)
        place = common.split(printed, TEST)
        if options.held_out is not None:
            place = common.hold_out(place, options.held_out)
        print(f"drawing {len(place) + sum(where == 'test' for where in place.values())} pictures ...", flush=True)
        licence = {LICENCE: (HERE / LICENCE).read_bytes()}
        common.publish_pairs(options.out, scratch, printed, brushed, place, licence)


if __name__ == "__main__":
    common.run(main)
