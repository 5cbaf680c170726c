"""Rebuild the emoji set: Noto emoji (A) and Twemoji (B), 64 px on white.

    python datasets/emoji/prepare.py

Fetches the npm packages emoji-datasource-google and emoji-datasource-twitter with npm, or takes
unpacked ones with ``--package-dir`` (a folder that holds both under their names, such as
``node_modules``).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common
from PIL import Image

HERE = Path(__file__).resolve().parent
VERSION = "16.0.0"
KEPT, TEST = 1906, 400


def load(path: Path) -> Image.Image:
    """One picture of a package as 64 px RGB on white."""
    try:
        with Image.open(path) as picture:
            white = common.on_white(picture)
    except OSError as error:
        raise common.UsageError(f"cannot read the picture {path}: {error}") from None
    if white.size != (common.SIZE, common.SIZE):
        raise common.UsageError(f"{path} is {white.width} x {white.height} px, not {common.SIZE}")
    return white


def main() -> None:
    """Fetch, split and write the set."""
    parser = common.Parser(description="Rebuild the emoji data set (Noto and Twemoji).")
    parser.add_argument(
        "--package-dir", type=Path, metavar="DIR", help=f"a folder with both unpacked npm packages {VERSION}"
    )
    parser.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: beside this script)"
    )
    options = parser.parse_args()

    with common.scratch_beside(options.out) as scratch:
        google, twitter = (
            common.find_package(
                f"emoji-datasource-{vendor}", VERSION, ("emoji.json", f"img/{vendor}/64/"), options.package_dir, scratch
            )
            / "img"
            / vendor
            / "64"
            for vendor in ("google", "twitter")
        )
        # The list names skin tones only inside the emoji they vary, except for the five swatches,
        # which make up the category "Component".
        names = [
            Path(e["image"]).stem
            for e in common.read_list(google.parents[2] / "emoji.json")
            if e["has_img_google"] and e["has_img_twitter"] and e["category"] != "Component"
        ]
        common.expect("emoji in both packages", len(names), KEPT)
        folders = ("trainA", "trainB", "trainB_rest", "testA", "testB")
        common.refuse_foreign(options.out, folders, names)

        noto = {name: load(google / f"{name}.png") for name in names}
        twemoji = {name: load(twitter / f"{name}.png") for name in names}
        place = common.split(names, TEST, common.same_pictures(noto) + common.same_pictures(twemoji))
        test = sorted(n for n in names if place[n] == "test")
        common.publish(
            options.out,
            scratch,
            {
                "trainA": {n: noto[n] for n in names if place[n] == "A"},
                "trainB": {n: twemoji[n] for n in names if place[n] == "B"},
                "trainB_rest": {n: twemoji[n] for n in names if place[n] == "A"},
                "testA": {n: noto[n] for n in test},
                "testB": {n: twemoji[n] for n in test},
            },
            common.preview((noto, twemoji), test[TEST // 16 :: TEST // 8]),
        )


if __name__ == "__main__":
    common.run(main)
