"""``progcycle plan RECIPE``: when a recipe grows, and how large its networks are. Nothing is trained or read."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.commands.cli import guarded, parser
from progcycle.output import say

if TYPE_CHECKING:
    from progcycle.engine.build import Parts
    from progcycle.recipe import Recipe

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

    from progcycle.engine.plots import plot_plan
    from progcycle.recipe import load_recipe

    built = tell_plan(load_recipe(args.recipe, args.overrides))
    if args.out:
        plot_plan(built.schedule, args.out)
        say(f"wrote {args.out}")
    return 0


def tell_plan(recipe: "Recipe") -> "Parts":
    """Print the growth plans of training, and of pre-training if there is one, and the sizes of the networks.

    Returns:
        Schedule and task, the networks without memory.
    """
    import torch

    from progcycle.engine.build import build, count_parameters
    from progcycle.engine.pretraining import build_pretraining

    with torch.device("meta"):  # sizes only: no memory, no time
        built, before = build(recipe), build_pretraining(recipe)
    if before is not None:
        say(f"pre-training:\n{before.schedule.table()}\n\ntraining:")
    say(built.schedule.table() + "\n")
    for name, network in built.task.networks.items():
        say(f"{name:14}{count_parameters(network):>14,} parameters")
    return built


main = guarded(run)
