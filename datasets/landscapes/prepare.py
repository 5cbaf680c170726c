"""Rebuild the landscapes: daylight (A) and dusk (B), squares of 256 px cut from photographs of 720 x 360 px.

    python datasets/landscapes/prepare.py
    python datasets/landscapes/prepare.py --large large_landscapes

Fetches the Debian package endless-sky-data with apt, or takes a downloaded one with ``--deb``. With ``--large`` it
fetches the test photographs of daylight in full size instead.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common
from PIL import Image

HERE = Path(__file__).resolve().parent
PACKAGE, LAND = "endless-sky-data", "usr/share/games/endless-sky/images/land"
LARGE_PACKAGE = "endless-sky-high-dpi"
LARGE_LAND = "usr/share/games/endless-sky/plugins/endless-sky-high-dpi/images/land"
WALLPAPERS, BACKGROUNDS = "lomiri-wallpapers-16.04", "usr/share/backgrounds"
# Landscapes by day among the wallpapers; of no other picture of theirs is anything trained on.
LARGEST = ("Bridge_by_Sander_Klootwijk", "aitzgorri_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi")
SIDE = 256
DOMAINS = {"day": "A", "dusk": "B"}
QUALITY = {"quality": 90}


def read_table() -> list[dict[str, str]]:
    """The chosen photographs: picture, light, split, author and licence."""
    with (HERE / "pictures.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_photograph(path: Path) -> Image.Image:
    """A photograph as RGB, with its height brought to 256 px."""
    if not path.is_file():
        raise common.UsageError(f"there is no picture {path}: the package is another one than the script knows")
    with Image.open(path) as photograph:
        whole = photograph.convert("RGB")
    return whole.resize((round(whole.width * SIDE / whole.height), SIDE), Image.Resampling.LANCZOS)


def squares(photograph: Image.Image) -> dict[str, Image.Image]:
    """The left and the right square of a wide photograph."""
    right = photograph.width - SIDE
    return {"left": photograph.crop((0, 0, SIDE, SIDE)), "right": photograph.crop((right, 0, right + SIDE, SIDE))}


def preview(content: dict[str, dict[str, Image.Image]], columns: int = 8) -> Image.Image:
    """Training squares of daylight above, of dusk below."""
    rows = []
    for folder in ("trainA", "trainB"):
        names = sorted(content[folder])
        rows.append([content[folder][names[x * len(names) // columns]] for x in range(columns)])
    return common.squares(rows, SIDE // 2, gap=4, ground="white")


def main() -> None:
    """Fetch, cut and write the set, or the large test photographs."""
    parser = common.Parser(description="Rebuild the landscapes.")
    parser.add_argument("--deb", type=Path, metavar="FILE", help=f"the package {PACKAGE}, if it is here already")
    parser.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: beside this script)"
    )
    parser.add_argument(
        "--large",
        type=Path,
        metavar="DIR",
        help=f"write the test photographs of daylight in full size to DIR instead (fetches {LARGE_PACKAGE}, 136 MB, "
        f"and {WALLPAPERS}, 16 MB)",
    )
    options = parser.parse_args()
    table = read_table()
    if options.large is not None:
        fetch_large(table, options.large)
        return
    with common.scratch_beside(options.out) as scratch:
        land = common.fetch_debian(PACKAGE, options.deb, scratch) / LAND
        content: dict[str, dict[str, Image.Image]] = {"trainA": {}, "trainB": {}, "testA": {}, "testB": {}}
        for row in table:
            photograph = read_photograph(land / f"{row['picture']}.jpg")
            folder = content[row["split"] + DOMAINS[row["light"]]]
            if row["split"] == "test":
                folder[row["picture"]] = photograph
            else:
                folder |= {f"{row['picture']}-{where}": square for where, square in squares(photograph).items()}
        for name, pictures in content.items():
            common.refuse_foreign(options.out, (name,), pictures, ".jpg")
        common.publish(options.out, scratch, content, preview(content), ".jpg", saving=QUALITY)


def fetch_large(table: list[dict[str, str]], out: Path) -> None:
    """Write the test photographs of daylight as large as there are, as files that are not changed."""
    wanted = [row["picture"] for row in table if row["split"] == "test" and row["light"] == "day"]
    with common.scratch_beside(out) as scratch:
        land = common.fetch_debian(LARGE_PACKAGE, None, scratch) / LARGE_LAND
        walls = common.fetch_debian(WALLPAPERS, None, scratch) / BACKGROUNDS
        files = {f"{name}.jpg": land / f"{name}@2x.jpg" for name in wanted}
        files |= {f"{name}.jpg": walls / f"{name}.jpg" for name in LARGEST}
        for name, path in files.items():
            if not path.is_file():
                raise common.UsageError(f"there is no picture {path.name} in the packages that the script knows")
            path.replace(out / name)
    print(f"{out} {len(files)}")


if __name__ == "__main__":
    common.run(main)
