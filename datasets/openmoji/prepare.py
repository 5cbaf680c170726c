"""Rebuild the OpenMoji set: line drawings (A) and colour pictures (B), 64 px on white.

    pip install resvg-py==0.5.0
    python datasets/openmoji/prepare.py

Fetches the npm package openmoji with npm, or takes an unpacked one with ``--package-dir``.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable, Mapping
from hashlib import blake2b
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


def draw(render: Callable[..., bytes], svg: Path) -> Image.Image:
    """One SVG as 64 px RGB on white, in its own frame (OpenMoji keeps a margin; so do we)."""
    if not svg.is_file():
        raise common.UsageError(f"there is no picture {svg}")
    side = common.SIZE * OVERSAMPLING
    try:
        png = render(svg_path=str(svg), width=side, height=side, skip_system_fonts=True)
    except ValueError as error:
        raise common.UsageError(f"cannot draw {svg}: {error}") from None
    return common.on_white(Image.open(io.BytesIO(png))).reduce(OVERSAMPLING)


def hold_out(place: Mapping[str, str], count: int, barred: set[str]) -> dict[str, str]:
    """The split with other test pictures: ``count`` names of training, half of A and half of B; the test is left out.

    To choose options by. The other members of a group stay in training, all on the side of the one that left: their
    answers are not seen there.
    """
    held: set[str] = set()
    for side in "AB":
        names = [name for name, where in place.items() if where == side and name not in barred]
        names.sort(key=lambda name: blake2b(f"held-out {name}".encode()).hexdigest())
        held |= set(names[: count // 2])
    common.expect("names to hold out", len(held), count)
    return {name: "test" if name in held else where for name, where in place.items() if where != "test"}


def main() -> None:
    """Fetch, draw, split and write the set."""
    parser = common.Parser(description="Rebuild the OpenMoji data set.")
    parser.add_argument(
        "--package-dir",
        type=Path,
        metavar="DIR",
        help=f"an unpacked npm package {PACKAGE} {VERSION}, or a folder with it",
    )
    parser.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: beside this script)"
    )
    parser.add_argument(
        "--held-out",
        type=int,
        metavar="N",
        help="make a set to choose options by: pairs of N training names for its test, the test pictures left out",
    )
    options = parser.parse_args()
    if options.held_out is not None and options.out == HERE:
        raise common.UsageError("--held-out makes another set than the bundled one: give it a folder with --out")
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
        codes = [e["hexcode"] for e in listed if e["subgroups"] != "skin-tone"]
        folders = ("trainA", "trainB", "testA", "testB")
        common.refuse_foreign(options.out, folders, (code.lower() for code in codes))

        print(f"drawing {2 * len(codes)} pictures ...", flush=True)
        black, color = (
            {code.lower(): draw(render, package / style / "svg" / f"{code}.svg") for code in codes}
            for style in ("black", "color")
        )
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
            place = hold_out(place, options.held_out, frames)
        test = sorted(n for n in place if place[n] == "test")
        common.publish(
            options.out,
            scratch,
            {
                "trainA": {n: black[n] for n in black if place.get(n) == "A"},
                "trainB": {n: color[n] for n in color if place.get(n) == "B"},
                "testA": {n: black[n] for n in test},
                "testB": {n: color[n] for n in test},
            },
            common.preview((black, color), test[len(test) // 16 :: max(len(test) // 8, 1)]),
        )


if __name__ == "__main__":
    common.run(main)
