"""``progcycle study FILE``: train variants of a recipe with several seeds, measure each, keep every finished row."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from progcycle.commands.cli import guarded, parser, positive, say, versions
from progcycle.commands.metrics import check_metrics
from progcycle.commands.study_report import write_report
from progcycle.errors import UserError
from progcycle.recipe import PgganRecipe, Recipe, Study, load_study

DESCRIPTION = """Train every variant of a study with every seed, measure it, and write a table and plots.

A finished run is a row of OUT/rows.jsonl and is not run again; a run that was interrupted goes on from its last
checkpoint. Each run has one thread of its own, so that its CPU time says what it cost."""
EXAMPLES = """examples:
  progcycle study recipes/studies/averaging.yaml --jobs 2
  progcycle study recipes/studies/averaging.yaml --report"""


def run(argv: Sequence[str] | None = None) -> int:
    """Run what has not run yet, and write the report; the exit code is 1 if a run failed."""
    p = parser("study", DESCRIPTION, EXAMPLES)
    p.add_argument("study", type=Path, metavar="FILE", help="a study, such as those in recipes/studies/")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="rows, table and plots; default: docs/studies/<name>")
    p.add_argument("--runs", type=Path, metavar="FOLDER", help="run folders; default: runs/studies/<name>")
    p.add_argument("--jobs", type=positive, default=1, help="runs side by side, a process for each (default 1)")
    p.add_argument("--report", action="store_true", help="run nothing, only write the table and plots again")
    args = p.parse_intermixed_args(argv)

    study, recipes = load_study(args.study)
    out = args.out or Path("docs/studies") / args.study.stem
    runs = args.runs or Path("runs/studies") / args.study.stem
    rows_path = out / "rows.jsonl"
    rows = read_rows(rows_path, study, recipes)
    for (variant, _), recipe in recipes.items():  # now, and not when the first run has been trained
        if not isinstance(recipe, PgganRecipe):
            raise UserError(f"{args.study}: variant {variant} is of the task {recipe.task}; a study measures pggan.")
        check_metrics(
            study.metrics,
            recipe.schedule.hold_resolution or recipe.resolution,
            recipe.data.channels,
            f"{args.study}: metrics",
        )
    missing = [key for key in recipes if key not in {(row["variant"], row["seed"]) for row in rows}]
    if missing and not args.report:
        say(f"{len(missing)} of {len(recipes)} runs to go, {args.jobs} at a time")
        out.mkdir(parents=True, exist_ok=True)
        jobs = [(study, *key, recipes[key], runs / f"{key[0]}-{key[1]}") for key in missing]
        rows += _run_all(jobs, args.jobs, rows_path)
    if not rows:
        raise UserError(f"{out} has no finished row; the table needs one.")
    for file in write_report(study, rows, out):
        say(f"wrote {file}")
    return 0 if args.report or len(rows) == len(recipes) else 1


def digest(study: Study, recipe: Recipe) -> str:
    """Fingerprint of all that decides a row: what the recipe sets, and what is measured.

    Keys at their defaults are left out, so that a recipe key added to progcycle later leaves old rows valid.
    """
    settings = recipe.model_dump(mode="json", exclude_defaults=True)
    decided = json.dumps([settings, study.metrics, study.count, study.curves], sort_keys=True)
    return hashlib.sha256(decided.encode()).hexdigest()[:16]


def read_rows(path: Path, study: Study, recipes: dict[tuple[str, int], Recipe]) -> list[dict[str, Any]]:
    """The finished rows of a study.

    Raises:
        UserError: a line is damaged, or belongs to another study than this one.
    """
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            key = (row["variant"], row["seed"])
            same = key in recipes and row["digest"] == digest(study, recipes[key])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number}: this is not a row of a study; delete the line.") from None
        if not same:
            raise UserError(
                f"{path}, line {number}: {key[0]} with seed {key[1]} was run with other settings; use another --out, "
                "or delete the line."
            )
        rows.append(row)
    return rows


Job = tuple[Study, str, int, Recipe, Path]


def _run_all(jobs: list[Job], parallel: int, rows_path: Path) -> list[dict[str, Any]]:
    """Run the jobs, one process for each; every finished row is on the disk before the next is waited for."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the processes start
    rows, failed = [], list[str]()
    # A process of its own for each run: nothing that one leaves behind can touch another's figures.
    pool = ProcessPoolExecutor(parallel, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    try:
        waiting: dict[Future[dict[str, Any]], Job] = {pool.submit(run_row, *job): job for job in jobs}
        for done in as_completed(waiting):
            _, variant, seed, _, run_dir = waiting[done]
            try:
                row = done.result()
            except UserError as error:
                failed.append(f"{variant} with seed {seed}: {error}")
                say(f"failed: {failed[-1]}")
                continue
            except BrokenProcessPool:
                raise UserError(
                    f"A run was killed (see {run_dir.parent}); start the command again to go on from where it stood."
                ) from None
            with rows_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
            rows.append(row)
            figures = ", ".join(f"{name} {value:.4g}" for name, value in row["figures"].items())
            say(f"{variant:16} seed {seed:3}  {row['cpu_seconds']:7.1f} CPU s  {figures}")
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)  # an interruption does not wait for runs on their way
        raise
    pool.shutdown()
    if failed:
        say(f"{len(failed)} runs failed; the report holds the others")
    return rows


def run_row(study: Study, variant: str, seed: int, recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    """Train one variant with one seed in this process, and measure it.

    The CPU time is that of training in this process; a run that was resumed counts its last part only, and says so.
    """
    import torch

    from progcycle.commands.metrics import evaluator, measure
    from progcycle.engine.loop import Trainer
    from progcycle.export import save_snapshot

    torch.set_num_threads(1)
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        resumed = (run_dir / "checkpoints").exists()
        cpu, wall = time.process_time(), time.perf_counter()
        trainer = Trainer(recipe, run_dir, save_snapshot, evaluator(recipe))
        trainer.run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        figures = measure(run_dir, study.metrics, study.count)
    return {
        "variant": variant,
        "seed": seed,
        "digest": digest(study, recipe),
        "figures": figures,
        "curves": read_curves(run_dir / "stats.jsonl", study.curves),
        "nimg": trainer.nimg,
        "cpu_seconds": round(cpu, 1),
        "wall_seconds": round(wall, 1),
        "resumed": resumed,
        "versions": versions(),
    }


def read_curves(stats: Path, names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Points (kimg, value) of figures in a training log."""
    lines = [json.loads(line) for line in stats.read_text(encoding="utf-8").splitlines()]
    return {name: [(line["nimg"] / 1000, line[name]) for line in lines if name in line] for name in names}


main = guarded(run)
