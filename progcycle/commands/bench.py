"""``progcycle bench RECIPE``: how fast a recipe trains here, stage by stage, and what limits it."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import add_recipe, check_file, guarded, parser
from progcycle.output import safe_output, say

DESCRIPTION = """Measure how fast a recipe trains on this device, stage by stage, and what limits it.

Some steps of every phase are trained on the recipe's pictures, with its loader and its networks, and discarded. No run
folder is written. Columns: time of a step, pictures of one domain a second, the share of the speed that the device
reaches in the step's convolutions alone, and the shares of the step's time: waiting for data, generators (gen),
discriminators (disc), penalties on gradients (pen), optimizer (opt), averages (ema), the rest. Then peak memory, and
the time of all pictures that the plan shows at this resolution."""
EXAMPLES = """examples:
  progcycle bench cyclegan_openmoji
  progcycle bench cyclegan_openmoji training.precision=bf16 --out bf16.json
  progcycle bench cyclegan_openmoji --against bf16.json
  progcycle bench pggan_celebahq --against runs/pggan_celebahq --seconds 300"""


def run(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write what is asked for."""
    p = parser("bench", DESCRIPTION, EXAMPLES)
    add_recipe(p)
    p.add_argument("--seconds", type=_seconds, default=80.0, metavar="S", help="time for all steps (default 80)")
    p.add_argument("--out", type=Path, metavar="FILE.json", help="write all figures to this file, and a plot beside it")
    p.add_argument(
        "--against",
        type=Path,
        metavar="RUN",
        help="compare the speed with that of a run, or with a file that --out wrote",
    )
    args = p.parse_intermixed_args(argv)
    if args.out is not None:
        check_file(args.out, (".json",))

    from progcycle.engine.bench import bench, comparison, recorded_speed
    from progcycle.engine.bench_plot import plot_bench
    from progcycle.files import atomic_file
    from progcycle.recipe import load_recipe

    earlier = None if args.against is None else recorded_speed(args.against)
    found = bench(load_recipe(args.recipe, args.overrides), args.recipe.stem, args.seconds, say)
    say(str(found))
    if earlier is not None:
        say(f"against {args.against}:\n{comparison(found, earlier)}")
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(args.out) as temporary:
            temporary.write_text(json.dumps(found.content(), indent=1) + "\n", encoding="utf-8")
        plot = args.out.with_suffix(".png")
        plot_bench(found, plot)
        say(f"wrote {args.out} and {plot}")
    return 0


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {text}")
    return value


main = safe_output()(guarded(run))
