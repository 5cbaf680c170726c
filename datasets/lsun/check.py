"""Count and measure the pictures of one LSUN category."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _common as common

SIDE = 256


def main() -> None:
    """Count and measure; report what is missing or too small."""
    parser = common.Parser(description="Count and measure the pictures of one LSUN category.")
    parser.add_argument("folder", type=Path, help="a folder or zip of pictures, in any nesting")
    parser.add_argument("--count", type=int, help="pictures expected (default: any number)")
    parser.add_argument("--size", type=int, default=SIDE, help=f"least length of the shorter side, px ({SIDE})")
    options = parser.parse_args()

    sizes = common.measure(options.folder)
    total = sum(sizes.values())
    if not total:
        raise common.UsageError(f"{options.folder} holds no pictures: README.md says how to get them out of the LMDB")
    shorter = [min(size) for size in sizes.elements()]
    print(f"{total} pictures, shorter side {min(shorter)} to {max(shorter)} px")
    if options.count is not None and total != options.count:
        raise common.UsageError(f"{options.folder} holds {total} pictures instead of {options.count}")
    small = sum(side < options.size for side in shorter)
    if small:
        raise common.UsageError(f"{small} of {total} pictures in {options.folder} are smaller than {options.size} px")
    print("complete")


if __name__ == "__main__":
    common.run(main)
