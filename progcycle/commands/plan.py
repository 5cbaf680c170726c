"""``progcycle plan RECIPE``: when a recipe grows, and how large its networks are. Nothing is trained or read."""

from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import guarded, parser
from progcycle.output import say

DESCRIPTION = "Show the growth plan of a recipe, and the sizes of its networks. Nothing is trained or read."
EXAMPLES = """examples:
  progcycle plan recipes/cyclegan_openmoji.yaml
  progcycle plan recipes/pggan_celebahq.yaml resolution=256 schedule.stable_kimg=300 --out plan.png"""


def run(argv: Sequence[str] | None = None) -> int:
    """Print the plan; draw it if asked to."""
    p = parser("plan", DESCRIPTION, EXAMPLES)
    p.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file, or a name that progcycle recipes lists")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    p.add_argument("--out", type=Path, metavar="FILE.png", help="also draw the plan into this PNG file")
    args = p.parse_intermixed_args(argv)

    from progcycle.api import plan as plan_of
    from progcycle.engine.plots import plot_plan
    from progcycle.recipe import load_recipe

    found = plan_of(load_recipe(args.recipe, args.overrides))
    say(str(found))
    if args.out:
        plot_plan(found.schedule, args.out)
        say(f"wrote {args.out}")
    return 0


main = guarded(run)
