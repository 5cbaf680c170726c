"""Give the published rows of studies the digests of recipes that are written otherwise, and mean the same.

    git worktree add /tmp/before COMMIT
    python docs/renew_digests.py /tmp/before

A row's digest is that of its recipe as its version of progcycle writes it out. Where the keys of networks have got
other places, every digest changes though nothing else does. This proves it, run by run, before it writes: with the
code and the recipes of the checkout and with those that are here, all networks have the same weights, by name, shape
and value, and all other keys of the recipe are equal. A row whose run is another one stops it; nothing is written then.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Runs = dict[str, dict[str, Any]]  # by "variant, seed"


def describe(root: Path, names: list[str]) -> dict[str, Runs]:
    """Of every run of some studies: its digest, a fingerprint of its networks, and the other keys of its recipe.

    Args:
        root: a checkout, whose code is the one that runs.
        names: of the studies.
    """
    from progcycle.recipe import load_study
    from progcycle.studies.runner import as_run, digest, read_plans

    known: dict[str, str] = {}
    found: dict[str, Runs] = {}
    for name in names:
        study, recipes = load_study(root / "recipes" / "studies" / f"{name}.yaml")
        recipes = as_run(study, recipes, read_plans(root / "docs" / "studies" / name / "plans.json"))
        found[name] = {}
        for (variant, seed), recipe in recipes.items():
            rest = recipe.model_dump(mode="json")
            key = json.dumps([rest.pop("network"), seed, recipe.resolution, rest["objective"]], sort_keys=True)
            if key not in known:
                known[key] = fingerprint(recipe)
            about = {"digest": digest(study, recipe), "networks": known[key], "rest": rest}
            found[name][f"{variant}, {seed}"] = about
    return found


def fingerprint(recipe: Any) -> str:
    """A number that changes with any name, shape or value of the weights that a recipe's networks begin with."""
    from progcycle.engine.build import build

    total = hashlib.sha256()
    for network, module in sorted(build(recipe).task.networks.items()):
        for name, tensor in module.state_dict().items():
            total.update(f"{network}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def renewed(rows: list[dict[str, Any]], before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows with the digests of today.

    Args:
        rows: as published.
        before, now: what :func:`describe` says of the runs of their study, by the older and by today's code.

    Raises:
        SystemExit: a row is of no run, or its run is not the same.
    """
    new = []
    for row in rows:
        run = f"{row['variant']}, {row['seed']}"
        if run not in before or run not in now:
            raise SystemExit(f"{run}: there is no such run.")
        old, today = before[run], now[run]
        if row["digest"] not in (old["digest"], today["digest"]):
            raise SystemExit(f"{run}: the row is of another recipe than that of the checkout.")
        for what in ("networks", "rest"):
            if old[what] != today[what]:
                raise SystemExit(f"{run}: {'the networks' if what == 'networks' else 'other keys'} are not the same.")
        new.append({**row, "digest": today["digest"]})
    return new


def main() -> None:
    """Prove, then write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the version that the digests are of")
    parser.add_argument("--describe", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--studies", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.describe:
        print(json.dumps(describe(args.before.resolve(), args.studies)))
        return
    files = {path.parent.name: path for path in sorted((ROOT / "docs" / "studies").glob("*/rows.jsonl"))}
    before, now = (_described(root, [*files]) for root in (args.before.resolve(), ROOT))
    new = {}
    for name, path in files.items():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        new[path] = rows, renewed(rows, before[name], now[name])
    for path, (rows, changed) in new.items():
        text = path.read_text(encoding="utf-8")
        for row, other in zip(rows, changed, strict=True):
            text = text.replace(json.dumps(row["digest"]), json.dumps(other["digest"]))
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(rows)} rows of the same networks")


def _described(root: Path, names: list[str]) -> dict[str, Runs]:
    """:func:`describe` by the code of a checkout."""
    done = subprocess.run(
        [sys.executable, __file__, str(root), "--describe", "--studies", *names],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, Runs] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
