"""``progcycle study FILE ...``: train variants of a recipe with several seeds, measure each, keep finished rows."""

from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import guarded, natural, parser, positive
from progcycle.errors import UserError
from progcycle.output import safe_output

DESCRIPTION = """Train every variant of a study with every seed, measure it, and write a table, plots, and a sheet of
pictures where there are some to show.

A finished run is a row of OUT/rows.jsonl and is not run again; a run that was interrupted goes on from its last
checkpoint. Each run uses one thread, so that its CPU time measures its cost. Where a study has a budget
of CPU time, every variant is timed first, and the plans that fit the budget are kept in OUT/plans.json."""
EXAMPLES = """examples:
  progcycle study averaging --jobs 2
  progcycle study recipes/studies/growth_*.yaml --jobs 2
  progcycle study averaging --report"""


def run(argv: Sequence[str] | None = None) -> int:
    """Run what has not run yet, and write the reports; the exit code is 1 if a run failed."""
    p = parser("study", DESCRIPTION, EXAMPLES)
    p.add_argument("study", type=Path, nargs="+", metavar="FILE", help="study files, or names of bundled ones")
    p.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder of rows, table and plots; default: runs/studies/<name>"
    )
    p.add_argument(
        "--runs", type=Path, metavar="FOLDER", help="folder of the run folders; default: runs/studies/<name>"
    )
    p.add_argument(
        "--jobs", type=positive, default=1, help="runs at the same time, each in a process of its own (default 1)"
    )
    p.add_argument("--seeds", type=natural, nargs="+", metavar="N", help="run only these seeds")
    p.add_argument("--variants", nargs="+", metavar="NAME", help="run only these variants")
    p.add_argument("--report", action="store_true", help="train nothing, only write the table and plots again")
    args = p.parse_intermixed_args(argv)
    if len(args.study) > 1 and (args.out or args.runs):
        raise UserError("--out and --runs are for a single study; give one FILE with them, or leave them out.")

    from progcycle.recipe import load_study
    from progcycle.studies.runner import check_study, run_study

    loaded = [(file, *load_study(file)) for file in args.study]  # all are checked before the first runs
    for file, study, recipes in loaded:
        check_study(file, study, recipes)
        if unknown := set(args.variants or ()) - study.variants.keys():
            raise UserError(f"{file} has no variant {sorted(unknown)[0]}; it has {', '.join(study.variants)}.")
    whole = True
    for file, study, recipes in loaded:
        default = Path("runs/studies") / file.stem
        out, runs = args.out or default, args.runs or default
        options = (args.jobs, args.seeds, args.variants, args.report)
        whole &= run_study(file.stem, study, recipes, out, runs, *options)
    return 0 if whole or args.report else 1


main = safe_output()(guarded(run))
