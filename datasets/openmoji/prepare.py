"""Rebuild the OpenMoji set: line drawings (A) and colour pictures (B), 64 px on white; or draw it at another size.

    pip install resvg-py==0.5.0
    python datasets/openmoji/prepare.py
    python datasets/openmoji/prepare.py --resolution 128 --out datasets/openmoji_128

Fetches the npm package openmoji with npm, or takes an unpacked one with ``--package-dir``.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common
from PIL import Image

HERE = Path(__file__).resolve().parent
PACKAGE, VERSION = "openmoji", "17.0.0"
RENDERER = "0.5.0"
LISTED, KEPT, TEST = 1923, 1917, 200
OVERSAMPLING = 4  # rendered so much larger, then averaged: smoother than the renderer alone


def load_renderer() -> Callable[..., bytes]:
    """The function that turns an SVG into PNG bytes."""
    try:
        module: Any = importlib.import_module("resvg_py")
    except ImportError:
        raise common.UsageError(f"the SVG renderer is missing: pip install resvg-py=={RENDERER}") from None
    if module.__version__ != RENDERER:
        raise common.UsageError(
            f"resvg-py {module.__version__} may draw other pictures: pip install resvg-py=={RENDERER}"
        )
    render: Callable[..., bytes] = module.svg_to_bytes
    return render


def draw(render: Callable[..., bytes], svg: Path, resolution: int = common.SIZE) -> Image.Image:
    """One SVG as RGB on white, in its own frame (OpenMoji keeps a margin; so do we)."""
    if not svg.is_file():
        raise common.UsageError(f"there is no picture {svg}")
    side = resolution * OVERSAMPLING
    try:
        png = render(svg_path=str(svg), width=side, height=side, skip_system_fonts=True)
    except ValueError as error:
        raise common.UsageError(f"cannot draw {svg}: {error}") from None
    return common.on_white(Image.open(io.BytesIO(png))).reduce(OVERSAMPLING)


def main() -> None:
    """Fetch, draw, split and write the set."""
    parser = common.Parser(description="Rebuild the OpenMoji data set.")
    parser.add_argument(
        "--package-dir",
        type=Path,
        metavar="DIR",
        help=f"an unpacked npm package {PACKAGE} {VERSION}, or a folder with it",
    )
    common.add_variants(parser, HERE)
    options = parser.parse_args()
    common.check_variants(options, HERE)
    render = load_renderer()

    with common.scratch_beside(options.out) as scratch:
        package = common.find_package(
            PACKAGE, VERSION, ("data/openmoji.json", "black/", "color/"), options.package_dir, scratch
        )
        listed = [
            e
            for e in common.read_list(package / "data" / "openmoji.json")
            if not e["skintone"] and not e["group"].startswith("extras-")
        ]
        common.expect("emoji in the package", len(listed), LISTED)
        # The five colour swatches are skin tones too, though not marked as such.
        codes = {e["hexcode"].lower(): e["hexcode"] for e in listed if e["subgroups"] != "skin-tone"}
        folders = ("trainA", "trainB", "testA", "testB")
        common.refuse_foreign(options.out, folders, codes)

        def drawn(style: str, resolution: int) -> Mapping[str, Image.Image]:
            svgs = package / style / "svg"
            return common.Drawn(codes, lambda name: draw(render, svgs / f"{codes[name]}.svg", resolution))

        # The split goes by pictures of 64 px, so that it is the same at every resolution.
        print(f"drawing {2 * len(codes)} pictures ...", flush=True)
        black, color = (dict(drawn(style, common.SIZE)) for style in ("black", "color"))
        # One drawing of the package has no line at all (the NEW button).
        for name in [n for n, p in black.items() if p.getextrema() == ((255, 255),) * 3]:
            del black[name], color[name]
        common.expect("emoji with a drawing", len(black), KEPT)

        # OpenMoji draws nearly every flag as the same bare frame. No one could tell the colours
        # from that, so these are for training only, and they are no reason to keep all flags
        # on one side; equal colour pictures still are.
        same_black = common.same_pictures(black)
        france = "1f1eb-1f1f7"
        frames = {france} | {name for pair in same_black if france in pair for name in pair}
        alike = [pair for pair in same_black if not frames.issuperset(pair)]
        alike += common.same_pictures(color)

        place = common.split(black, TEST, alike, frames)
        if options.held_out is not None:
            place = common.hold_out(place, options.held_out, frames.__contains__)
        a, b = drawn("black", options.resolution), drawn("color", options.resolution)
        if options.resolution == common.SIZE:
            a, b = black, color  # drawn already
        common.publish_pairs(options.out, scratch, a, b, place)


if __name__ == "__main__":
    common.run(main)
