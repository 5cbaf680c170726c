"""``progcycle train RECIPE``: train, or resume, what a recipe describes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.commands.cli import guarded, parser, say

if TYPE_CHECKING:
    from progcycle.recipe import Recipe

DESCRIPTION = "Train what a recipe describes. The same command again resumes from the newest checkpoint."
EXAMPLES = """examples:
  accelerate launch -m progcycle.train recipes/pggan_celebahq.yaml
  progcycle train recipes/cyclegan_openmoji.yaml seed=1 --run-dir runs/seed1
  progcycle train recipes/cyclegan_openmoji.yaml schedule.batch_size.32=8 --dry-run"""
RESULTS = "recipe.yaml, stats.jsonl, curves.png, plan.png, samples, snapshots, checkpoints"


def run(argv: Sequence[str] | None = None) -> int:
    """Train, and print where the results are."""
    p = parser("train", DESCRIPTION, EXAMPLES)
    p.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file, such as those in recipes/")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe, such as seed=1")
    p.add_argument("--run-dir", type=Path, metavar="FOLDER", help="run folder; default: runs/<name of the recipe>")
    p.add_argument(
        "--dry-run",
        action="store_true",
        help="print the resolved recipe, the plan and the networks' sizes, check the data, and write nothing",
    )
    args = p.parse_intermixed_args(argv)

    from progcycle.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.overrides)
    run_dir = args.run_dir or Path("runs") / args.recipe.stem
    if args.dry_run:
        _dry_run(recipe, run_dir)
        return 0

    from progcycle.commands.metrics import evaluator
    from progcycle.engine.loop import Trainer
    from progcycle.export import save_snapshot

    Trainer(recipe, run_dir, save_snapshot, evaluator(recipe, run_dir.parent / ".cache")).run()
    say(f"done: {run_dir} holds {RESULTS}")
    return 0


def _dry_run(recipe: "Recipe", run_dir: Path) -> None:
    import torch

    from progcycle.commands.metrics import evaluator
    from progcycle.commands.validation import TranslationEvaluator
    from progcycle.engine.build import build, count_parameters
    from progcycle.engine.setup import set_up
    from progcycle.recipe import dump

    with torch.device("meta"):  # sizes only: no memory, no time
        built = build(recipe)
    say(dump(recipe))
    say(built.schedule.table() + "\n")
    for name, network in built.task.networks.items():
        say(f"{name:14}{count_parameters(network):>14,} parameters")
    ground = set_up(recipe, run_dir, built.schedule)
    evaluate = evaluator(recipe, run_dir.parent / ".cache")  # whether it can measure what the recipe asks for
    say("")
    for domain, pictures in ground.sets.items():
        others = {"held out for validation": ground.validation, "test pictures": ground.tests}
        more = "".join(f", {len(sets[domain]):,} {words}" for words, sets in others.items() if domain in sets)
        say(f"{domain:14}{len(pictures):>14,} pictures{more}")
    for line in evaluate.about() if isinstance(evaluate, TranslationEvaluator) else ():
        say(line)
    say(
        f"run folder {run_dir}, processes: {ground.accelerator.num_processes}, "
        f"device: {ground.accelerator.device.type}, precision: {ground.precision.name}"
    )
    ground.accelerator.end_training()


main = guarded(run)
