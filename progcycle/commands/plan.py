"""``progcycle plan RECIPE``: when a recipe grows, and how large its networks are. Nothing is trained."""

from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import add_recipe, check_file, guarded, parser
from progcycle.output import say

DESCRIPTION = (
    "Show when a recipe grows, and how large its networks are. Nothing is trained, and no picture is read.\n"
    "With --time, a few steps of every phase are timed, on noise. With --memory, the memory of every stage is found\n"
    "without computing, and the training.max_batch_per_device that GPUs of several sizes need."
)
EXAMPLES = """examples:
  progcycle plan recipes/cyclegan_openmoji.yaml
  progcycle plan recipes/cyclegan_openmoji.yaml --time
  progcycle plan recipes/cyclegan_photos_256.yaml --memory
  progcycle plan recipes/pggan_celebahq.yaml resolution=256 schedule.stable_kimg=300 --out plan.png"""


def run(argv: Sequence[str] | None = None) -> int:
    """Print the plan; with ``--out``, draw it too."""
    p = parser("plan", DESCRIPTION, EXAMPLES)
    add_recipe(p)
    p.add_argument("--out", type=Path, metavar="FILE.png", help="also draw the plan into this PNG file")
    p.add_argument(
        "--time",
        action="store_true",
        help="also print what each stage costs on this device, and its share of the run: whether growing can save time",
    )
    p.add_argument(
        "--memory",
        action="store_true",
        help="also print what tensors take at each stage, and what a GPU of 8, 16, 24 or 80 GB needs",
    )
    args = p.parse_intermixed_args(argv)
    if args.out is not None:
        check_file(args.out, (".png",))

    from progcycle.api import plan as plan_of
    from progcycle.engine.plots import plot_plan
    from progcycle.recipe import load_recipe

    found = plan_of(load_recipe(args.recipe, args.overrides), timed=args.time, memory=args.memory)
    say(str(found))
    if args.out is not None:
        plot_plan(found.schedule, args.out)
        say(f"wrote {args.out}")
    return 0


main = guarded(run)
