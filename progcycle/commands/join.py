"""``progcycle join RUN RUN ... --out FOLDER``: put levels of LAPGANs together that were trained in different runs."""

from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import guarded, parser
from progcycle.errors import UserError
from progcycle.output import say

DESCRIPTION = """Put levels of a LAPGAN together that were trained in different runs.

The folder holds one snapshot with all levels, for generate, interpolate and evaluate. The runs stay as they are."""
EXAMPLES = """examples:
  progcycle train lapgan_emoji levels=8 --run-dir runs/level8
  progcycle train lapgan_emoji levels=16 --run-dir runs/level16
  progcycle train lapgan_emoji levels=32 --run-dir runs/level32
  progcycle join runs/level8 runs/level16 runs/level32 --out runs/lapgan"""


def run(argv: Sequence[str] | None = None) -> int:
    """Write the folder with the snapshot."""
    p = parser("join", DESCRIPTION, EXAMPLES)
    p.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, or snapshots, of different levels")
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to create")
    args = p.parse_intermixed_args(argv)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise UserError(f"{args.out} exists already; give --out the name of a new folder.")

    from progcycle.export import join_levels

    snapshot = join_levels(args.runs, args.out)
    say(f"wrote {snapshot}")
    return 0


main = guarded(run)
