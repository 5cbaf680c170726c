"""Count and measure the CelebA-HQ pictures of this folder (or of another one, or of a zip)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Count and measure; report what is missing or wrong."""
    parser = common.Parser(description="Count and measure the CelebA-HQ pictures.")
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=HERE,
        help="a folder with images/ or images.zip, or the pictures or the zip themselves (default: beside this script)",
    )
    parser.add_argument("--count", type=int, default=30_000, help="pictures expected (30000)")
    parser.add_argument("--size", type=int, default=1024, help="side expected, px (1024)")
    options = parser.parse_args()

    place: Path = options.folder
    if not place.exists():
        raise common.UsageError(f"there is no folder {place}")
    for inner in ("images", "images.zip"):
        if (place / inner).exists():
            place /= inner
            break
    else:
        if place.resolve() == HERE:
            raise common.UsageError(
                f"{HERE} has neither images/ nor images.zip: README.md says where the pictures come from"
            )
    sizes = common.measure(place)
    common.report("images", sizes)
    total = sum(sizes.values())
    if total != options.count:
        hint = {
            202_599: " (this is the number of the original CelebA)",
            270_000: " (a known mirror repeats pictures)",
        }.get(total, "")
        if total > options.count and not hint:
            hint = " (are mask pictures, or copies, among them?)"
        raise common.UsageError(f"{place} holds {total} pictures instead of {options.count}{hint}")
    wrong = total - sizes[(options.size, options.size)]
    if wrong:
        raise common.UsageError(f"{wrong} of {total} pictures in {place} are not {options.size} x {options.size} px")
    print("complete")


if __name__ == "__main__":
    common.run(main)
