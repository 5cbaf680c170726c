"""``progcycle plan RECIPE``: when a recipe grows, and how large its networks are. Nothing is trained or read."""

from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import guarded, parser, say

DESCRIPTION = "Show the growth plan of a recipe, and the sizes of its networks. Nothing is trained or read."
EXAMPLES = """examples:
  progcycle plan recipes/cyclegan_openmoji.yaml
  progcycle plan recipes/pggan_celebahq.yaml resolution=256 schedule.stable_kimg=300 --out plan.png"""


def run(argv: Sequence[str] | None = None) -> int:
    """Print the plan; draw it if asked to."""
    p = parser("plan", DESCRIPTION, EXAMPLES)
    p.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file, such as those in recipes/")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    p.add_argument("--out", type=Path, metavar="FILE.png", help="draw the plan into this PNG file too")
    args = p.parse_intermixed_args(argv)

    import torch

    from progcycle.engine.build import build, count_parameters
    from progcycle.engine.plots import plot_plan
    from progcycle.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.overrides)
    with torch.device("meta"):  # sizes only: no memory, no time
        built = build(recipe)
    say(built.schedule.table())
    say("")
    for name, network in built.task.networks.items():
        say(f"{name:14}{count_parameters(network):>14,} parameters")
    if args.out:
        plot_plan(built.schedule, args.out)
        say(f"wrote {args.out}")
    return 0


main = guarded(run)
