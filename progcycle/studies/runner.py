"""Run the rows of a study that are missing, each in a process of its own, and keep what has finished."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.output import say
from progcycle.recipe import Recipe, Study
from progcycle.runtime.worker_processes import ProcessKilledError, run_in_processes
from progcycle.studies.budget import factor_for, probe, with_minimal_output
from progcycle.studies.pictures import write_pictures
from progcycle.studies.report import write_report
from progcycle.studies.row import STUDIED, run_row

Recipes = dict[tuple[str, int], Recipe]  # by variant and seed
Job = tuple[Any, ...]


def check_study(file: Path, study: Study, recipes: Recipes) -> None:
    """Refuse, before anything is trained, what cannot be measured.

    Raises:
        UserError: one sentence about the first metric that cannot be computed, about a key that the task does not
            use, about a task without a row, or about tasks whose runs are measured by different figures.
    """
    first = next(iter(recipes.values()))
    for recipe in recipes.values():
        if recipe.task not in STUDIED:
            raise UserError(f"{file}: a study measures the tasks {', '.join(STUDIED)}, not {recipe.task}.")
        row = STUDIED[recipe.task]
        if not row.measures_like(STUDIED[first.task]):
            raise UserError(
                f"{file}: runs of the tasks {first.task} and {recipe.task} have no figures in common; give each task a "
                "study of its own."
            )
        row.check_keys(str(file), study, recipe.task)
        if row.check is not None:
            row.check(f"{file}: metrics", study, recipe)


def run_study(
    name: str,
    study: Study,
    recipes: Recipes,
    out: Path,
    runs: Path,
    jobs: int = 1,
    seeds: Sequence[int] | None = None,
    variants: Sequence[str] | None = None,
    report: bool = False,
) -> bool:
    """Run what has not run yet, and write the table, plots and the sheet of pictures.

    Args:
        name: of the study, for its lines.
        study: of :func:`progcycle.recipe.load_study`.
        recipes: by (variant, seed), of the same.
        out: folder of rows, table and plots.
        runs: folder of run folders.
        jobs: runs side by side, a process of one thread for each.
        seeds: of the runs to go, only those of these seeds.
        variants: of the runs to go, only those of these variants.
        report: run nothing, only write the table and plots again.

    Returns:
        Whether every row of the study is there.

    Raises:
        UserError: a file of the study's is damaged, a run was killed, every run failed, or there is no finished row.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the processes start
    plans_path, rows_path = out / "plans.json", out / "rows.jsonl"
    plans = read_plans(plans_path)
    unknown = [v for v in variants or study.variants if study.cpu_minutes and v not in plans]
    if unknown and not report:
        out.mkdir(parents=True, exist_ok=True)
        plans |= _fit_all(study, {v: recipes[v, study.seeds[0]] for v in unknown}, runs, jobs, plans_path)
    recipes = as_run(study, recipes, plans)
    rows = read_rows(rows_path, study, recipes)
    done = {(row["variant"], row["seed"]) for row in rows}
    missing = [
        (variant, seed)
        for variant, seed in recipes
        if (variant, seed) not in done
        and (seeds is None or seed in seeds)
        and (variants is None or variant in variants)
    ]
    if missing and not report:
        say(f"{name}: {len(missing)} of {len(recipes)} runs to go, {jobs} at a time")
        out.mkdir(parents=True, exist_ok=True)
        rows += _run_all(study, recipes, missing, runs, jobs, rows_path)
    if not rows and (unknown or missing) and not report:
        raise UserError(
            "No run of the study came to its end, for the reasons above; mend them and start the command again."
        )
    if not rows:
        raise UserError(f"{out} has no finished row; run the study first, or name the folder of its rows with --out.")
    files = write_report(study, rows, _baselines(study, recipes, runs, out, report), out)
    files += write_pictures(study, recipes, {task: row.pictures for task, row in STUDIED.items()}, runs, out)
    for written in files:
        say(f"wrote {written}")
    return len(rows) == len(study.variants) * len(study.seeds)


def _baselines(study: Study, recipes: Recipes, runs: Path, out: Path, report: bool) -> dict[str, Any]:
    """Figures of methods that learn nothing, measured once and kept next to the rows; {} for tasks without."""
    path, recipe = out / "references.json", next(iter(recipes.values()))
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    measure = STUDIED[recipe.task].baselines
    if report or measure is None:
        return {}
    jobs: dict[Any, Job] = {"references": (study, recipe, runs / "references")}
    found = dict(_in_processes(measure, jobs, 1, runs))["references"]
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def digest(study: Study, recipe: Recipe) -> str:
    """Fingerprint of all that decides a row: what the recipe sets, and what is measured.

    Keys at their defaults are left out, so that a recipe key added to progcycle later leaves old rows valid.
    """
    settings = recipe.model_dump(mode="json", exclude_defaults=True)
    decided = json.dumps([settings, *study.measured], sort_keys=True)
    return hashlib.sha256(decided.encode()).hexdigest()[:16]


def read_rows(path: Path, study: Study, recipes: Recipes) -> list[dict[str, Any]]:
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


def as_run(study: Study, recipes: Recipes, plans: Mapping[str, Mapping[str, Any]]) -> Recipes:
    """The recipes that are trained, by (variant, seed): as long as the budget allows, with minimal output.

    Args:
        study: its budget and its points.
        recipes: of :func:`progcycle.recipe.load_study`.
        plans: of :func:`read_plans`; with a budget, variants without one are left out.
    """
    if study.cpu_minutes:
        recipes = {key: recipe.stretched(plans[key[0]]["factor"]) for key, recipe in recipes.items() if key[0] in plans}
    return {
        key: with_minimal_output(recipe, study.snapshots) if STUDIED[recipe.task].in_course else recipe
        for key, recipe in recipes.items()
    }


def read_plans(path: Path) -> dict[str, dict[str, Any]]:
    """The factor of every variant's plan that fits the budget, and the measured times.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        plans: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if all(plan["factor"] > 0 for plan in plans.values()):
            return plans
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{path} is damaged; delete it, and rows.jsonl next to it, to begin again.")


def _fit_all(
    study: Study, recipes: dict[str, Recipe], runs: Path, parallel: int, path: Path
) -> dict[str, dict[str, Any]]:
    """Time the variants and write down the plans that fit the budget."""
    assert study.cpu_minutes is not None
    seconds, found = 60 * study.cpu_minutes, {}
    jobs = {variant: (recipe, runs / f".probe-{variant}") for variant, recipe in recipes.items()}
    for variant, probed in _in_processes(probe, jobs, parallel, runs):
        factor = factor_for(probed, seconds)
        found[variant] = {
            "factor": round(factor, 6),
            "seconds_per_picture": {name: round(each, 6) for name, _, each in probed},
        }
        say(f"{variant}: plan x {factor:.3g} for {study.cpu_minutes:g} CPU minutes")
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(read_plans(path) | found, indent=1) + "\n", encoding="utf-8")
    return found


def _run_all(
    study: Study, recipes: Recipes, keys: list[tuple[str, int]], runs: Path, parallel: int, rows_path: Path
) -> list[dict[str, Any]]:
    """Run what is missing; every finished row is on the disk before the next is waited for."""
    rows: list[dict[str, Any]] = []
    jobs = {key: (study, *key, recipes[key], runs / f"{key[0]}-{key[1]}") for key in keys}
    for (variant, seed), row in _in_processes(run_row, jobs, parallel, runs):
        row["digest"] = digest(study, recipes[variant, seed])
        with rows_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        rows.append(row)
        shown = {name: value for name, value in row["figures"].items() if not study.shown or name in study.shown}
        figures = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        say(f"{variant:16} seed {seed:3}  {row['cpu_seconds']:7.1f} CPU s  {figures}")
    return rows


def _in_processes(
    work: Callable[..., Any], jobs: dict[Any, Job], parallel: int, runs: Path
) -> Iterator[tuple[Any, Any]]:
    """Results of jobs as they finish; failures are printed.

    Raises:
        UserError: a process was killed.
    """
    failed = 0
    try:
        for key, result in run_in_processes(work, jobs, parallel):
            if isinstance(result, UserError):
                failed += 1
                name = f"{key[0]} with seed {key[1]}" if isinstance(key, tuple) else key
                say(f"failed: {name}: {result}")
            else:
                yield key, result
    except ProcessKilledError:
        raise UserError(
            f"A run was killed (see {runs}); start the command again to go on from where it stood."
        ) from None
    if failed:
        say(f"{failed} of {len(jobs)} failed" + ("; the report holds the others" if failed < len(jobs) else ""))
