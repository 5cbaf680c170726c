"""Count and measure the horse2zebra pictures of this folder (or of another one)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common

HERE = Path(__file__).resolve().parent
FOLDERS = ("trainA", "trainB", "testA", "testB")
COUNTS = (1067, 1334, 120, 140)


def main() -> None:
    """Count and measure; report what is missing or wrong."""
    parser = common.Parser(description="Count and measure the horse2zebra pictures.")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=HERE, help=f"holds {', '.join(FOLDERS)} (default: beside this script)"
    )
    parser.add_argument(
        "--counts",
        type=int,
        nargs=4,
        default=COUNTS,
        metavar="N",
        help=f"pictures expected in each ({' '.join(map(str, COUNTS))})",
    )
    parser.add_argument("--size", type=int, default=256, help="side expected, px (256)")
    options = parser.parse_args()

    if not options.folder.is_dir():
        raise common.UsageError(f"there is no folder {options.folder}")
    missing = [name for name in FOLDERS if not (options.folder / name).is_dir()]
    if missing:
        raise common.UsageError(
            f"{options.folder} has no {', '.join(missing)}: README.md says where the pictures come from"
        )
    wrong = []
    for name, count in zip(FOLDERS, options.counts, strict=True):
        sizes = common.measure(options.folder / name)
        common.report(name, sizes)
        total = sum(sizes.values())
        if total != count:
            wrong.append(f"{name} holds {total} pictures instead of {count}")
        odd = total - sizes[(options.size, options.size)]
        if odd:
            wrong.append(f"{odd} pictures in {name} are not {options.size} x {options.size} px")
    if wrong:
        raise common.UsageError("; ".join(wrong))
    print("complete")


if __name__ == "__main__":
    common.run(main)
