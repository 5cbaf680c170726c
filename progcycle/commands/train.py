"""``progcycle train RECIPE``: train, or resume, what a recipe describes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.commands.cli import add_recipe, guarded, parser
from progcycle.output import safe_output, say

if TYPE_CHECKING:
    from progcycle.recipe import Recipe

DESCRIPTION = """Train a recipe. Run the same command again to resume from the newest checkpoint.

If the recipe has a section pretraining, its translators are pre-trained first, in the sub-folder pretraining."""
EXAMPLES = """examples:
  progcycle train recipes/cyclegan_openmoji.yaml
  progcycle train recipes/cyclegan_openmoji.yaml seed=1 --run-dir runs/seed1
  progcycle train recipes/cyclegan_openmoji.yaml schedule.batch_size.32=8 --dry-run
  progcycle train recipes/cyclegan_openmoji.yaml pretraining.kind=inpainting --run-dir runs/pretrained
  accelerate launch --num_processes 4 -m progcycle.train recipes/pggan_celebahq_4gpus.yaml"""
RESULTS = "recipe.yaml, stats.jsonl, curves.png, plan.png, index.html, samples, snapshots, checkpoints"


def run(argv: Sequence[str] | None = None) -> int:
    """Train, and print where the results are."""
    p = parser("train", DESCRIPTION, EXAMPLES)
    add_recipe(p)
    p.add_argument("--run-dir", type=Path, metavar="FOLDER", help="run folder; default: runs/<name of the recipe>")
    p.add_argument(
        "--dry-run",
        action="store_true",
        help="check recipe and pictures, print the full recipe, the plan and the networks' sizes, and write nothing",
    )
    args = p.parse_intermixed_args(argv)

    from progcycle.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.overrides)
    run_dir = args.run_dir or Path("runs") / args.recipe.stem
    if args.dry_run:
        _dry_run(recipe, run_dir)
        return 0

    from progcycle.engine.formatting import folded
    from progcycle.engine.page import FILE_NAME as PAGE
    from progcycle.engine.train import train
    from progcycle.runtime.stop import StoppedError

    try:
        done = train(recipe, run_dir, signals=True)
    except StoppedError as stopped:
        say(str(stopped))
        return stopped.exit_code
    say(folded(f"done: {run_dir} holds {RESULTS}"))
    say(f"page of the run: {run_dir / PAGE}")
    for purpose, command in done.description.next_commands:
        say(f"next, to {purpose}:\n    {command}")
    return 0


def _dry_run(recipe: "Recipe", run_dir: Path) -> None:
    from progcycle.api import plan
    from progcycle.engine.context import end
    from progcycle.engine.levels import resolve_levels
    from progcycle.engine.train import check
    from progcycle.recipe import dump

    try:
        recipe = resolve_levels(recipe, run_dir)
    finally:  # the plan needs no pictures
        say(dump(recipe))
        say(str(plan(recipe)))
    context, evaluate = check(recipe, run_dir)
    say("")
    for domain, pictures in context.sets.items():
        others = {"held out for validation": context.validation, "test pictures": context.tests}
        more = "".join(f", {len(sets[domain]):,} {words}" for words, sets in others.items() if domain in sets)
        say(f"{domain:14}{len(pictures):>14,} pictures{more}")
    for line in context.remarks():
        say(line)
    for line in getattr(evaluate, "about", list)():  # what an evaluator reports of its pictures, if it does
        say(line)
    for line in context.notes:
        say(line)
    say(
        f"run folder {run_dir}, processes: {context.accelerator.num_processes}, "
        f"device: {context.accelerator.device.type}, precision: {context.precision}"
    )
    end(context.accelerator, last=True)


main = safe_output()(guarded(run))
