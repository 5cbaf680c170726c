"""Putting the levels of a LAPGAN together that were trained in different runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from progcycle import __version__
from progcycle.errors import UserError
from progcycle.export.config import SnapshotConfig
from progcycle.export.lapgan import LaplacianGenerator
from progcycle.export.snapshot import find_snapshot, load_as
from progcycle.export.weights import write_model
from progcycle.files import atomic_folder

LIKE = ("base_resolution", "final_resolution", "classes")  # what the pyramids must agree in


def join_levels(runs: Sequence[str | Path], out: Path) -> Path:
    """Put levels together that were trained in several runs.

    Args:
        runs: run folders, of which the newest snapshot is taken, or snapshots; each has levels that no other has.
        out: a folder that does not exist yet; the snapshot is written into its folder ``snapshots``, so that all that
            takes a run folder takes this one.

    Returns:
        The snapshot.

    Raises:
        UserError: a run holds no LAPGAN or is given twice, two have the same level or do not fit together, or a level
            is missing.
    """
    if again := [run for i, run in enumerate(runs) if run in runs[:i]]:
        raise UserError(f"{again[0]} is given twice; leave it out once.")
    models = {str(run): load_as(LaplacianGenerator, find_snapshot(run)) for run in runs}
    owners = _owners(models)
    missing = [side for side in next(iter(models.values())).all_levels if side not in owners]
    if missing:
        raise UserError(
            f"The level of {missing[0]} px is in none of these runs; train it (levels={missing[0]}), and add its run."
        )
    finest = models[owners[max(owners)]]
    config = finest.config.model_copy(
        update={
            "progcycle_version": __version__,
            "networks": {_name(side): models[run].config.networks[_name(side)] for side, run in sorted(owners.items())},
            "recipe": _recipe(finest.config.recipe, sorted(owners)),
            "cpu_seconds": _sum([model.config.cpu_seconds for model in models.values()]),
            "best": None,
        }
    )
    LaplacianGenerator.check(config)
    weights = {
        f"{_name(side)}.{key}": weight
        for side, run in owners.items()
        for key, weight in models[run].level(side).state_dict().items()
    }
    folder = out / "snapshots" / f"nimg-{config.nimg:012d}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as temporary:
        write_model(temporary, config, weights)
    return folder


def _owners(models: Mapping[str, LaplacianGenerator]) -> dict[int, str]:
    """Which run each level comes from."""
    owners: dict[int, str] = {}
    first = next(iter(models))
    for run, model in models.items():
        for key in LIKE:
            here, there = getattr(model.config, key), getattr(models[first].config, key)
            if here != there:
                raise UserError(f"{run} and {first} do not fit together: {key} is {here} here, and {there} there.")
        for side in model.levels:
            if side in owners:
                raise UserError(f"{run} and {owners[side]} both have the level of {side} px; leave one of them out.")
            owners[side] = run
    channels = {run: _channels(model.config, model.levels[0]) for run, model in models.items()}
    for run, count in channels.items():
        if count != channels[first]:
            raise UserError(
                f"{run} and {first} do not fit together: pictures have {count} channels here, and "
                f"{channels[first]} there."
            )
    return owners


def _name(side: int) -> str:
    return f"generator_{side}"


def _channels(config: SnapshotConfig, side: int) -> Any:
    return config.networks[_name(side)].arguments.get("image_channels")


def _recipe(recipe: Mapping[str, Any], levels: Sequence[int]) -> dict[str, Any]:
    """The recipe of the finest level, as if it had trained all; that of the others is in their run folders."""
    return {**recipe, "levels": list(levels)}


def _sum(seconds: Sequence[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return sum(known) if len(known) == len(seconds) else None
