"""Snapshots: what is needed to use a trained model, without the state of its training.

A folder ``snapshots/nimg-000000012000`` holds ``model.safetensors`` (running averages of the weights, float32, named
"<network>.<parameter>") and ``config.json`` (:class:`progcycle.export.config.SnapshotConfig`). The folder ``best`` of a
run is such a folder too: the one of its evaluations that did best.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from progcycle import __version__
from progcycle.data.scale import load_side, test_side
from progcycle.errors import UserError
from progcycle.export.autoencoder import Autoencoder
from progcycle.export.config import CONFIG_FILE, WEIGHTS_FILE, BestFigure, NetworkSpec, SnapshotConfig, read_config
from progcycle.export.generator import BeganGenerator, Generator
from progcycle.export.hub import (
    CARD_FILE,
    FIGURES_FILE,
    RECIPE_FILE,
    SAMPLES,
    check_name,
    check_new,
    did_you_mean,
    fetch_model,
    is_hub_name,
)
from progcycle.export.lapgan import LaplacianGenerator
from progcycle.export.snapshot_model import M, SnapshotModel
from progcycle.export.translator import Translator
from progcycle.export.weights import read_model, write_model
from progcycle.files import atomic_folder
from progcycle.recipe import NATIVE, GeneratorData, Recipe
from progcycle.resolution import Resolution
from progcycle.schedule import Growth

# The class that each task's networks are loaded as. Programs may add rows.
MODELS: dict[str, type[SnapshotModel]] = {
    "pggan": Generator,
    "cyclegan": Translator,
    "began": BeganGenerator,
    "autoencoder": Autoencoder,
    "lapgan": LaplacianGenerator,
}
_NAME = re.compile(r"nimg-(\d+)")


def save_snapshot(
    folder: Path,
    *,
    task: str,
    networks: Mapping[str, nn.Module],
    specs: Mapping[str, Mapping[str, Any]],
    growth: Growth,
    base_resolution: int,
    nimg: int,
    recipe: Recipe,
    classes: Sequence[str] = (),
    cpu_seconds: float | None = None,
    best: tuple[str, float] | None = None,
) -> Path:
    """Write a snapshot folder; it appears complete or not at all.

    Args:
        folder: where to, usually ``<run>/snapshots/nimg-<twelve digits>``.
        task: a key of ``MODELS``.
        networks: those that its class there holds, by name, with the weights to keep (the running averages).
        specs: how to build each of them: {"name": name in progcycle.networks, "arguments": keywords}.
        growth: where growth stands.
        base_resolution: of the networks' stage 0.
        nimg: real pictures of one domain shown so far.
        recipe: the run's recipe.
        classes: names of the generator's classes, in the order of their numbers.
        cpu_seconds: CPU time that training has used.
        best: figure and value that the snapshot is kept for.

    Returns:
        The folder.

    Raises:
        UserError: a weight is not a finite number.
        ValueError: the values do not belong together.
        KeyError: the task is not in ``MODELS``.
    """
    config = SnapshotConfig(
        progcycle_version=__version__,
        task=task,
        networks={name: NetworkSpec.model_validate(_plain(specs[name])) for name in networks},
        stage=growth.stage,
        alpha=growth.progress,
        resolution=Resolution.of(growth.resolution),
        base_resolution=Resolution.of(base_resolution),
        final_resolution=recipe.resolution,
        nimg=nimg,
        seed=recipe.seed,
        classes=list(classes),
        recipe=recipe.model_dump(mode="json"),
        cpu_seconds=cpu_seconds,
        best=best and BestFigure(figure=best[0], value=best[1]),
        test_resolution=_test_resolution(recipe),
    )
    MODELS[task].check(config)
    weights = {f"{name}.{key}": w for name, network in networks.items() for key, w in network.state_dict().items()}
    with atomic_folder(folder) as temporary:
        write_model(temporary, config, weights)
    return folder


def _test_resolution(recipe: Recipe) -> dict[str, int | Literal["native"]]:
    """See :class:`SnapshotConfig`; generators take no pictures."""
    if isinstance(recipe.data, GeneratorData):
        return {}
    loaded = {d: o for d, o in recipe.data.domains.items() if load_side(o, recipe.resolution) != recipe.resolution}
    sides = {domain: test_side(options, recipe.resolution) for domain, options in loaded.items()}
    return {domain: NATIVE if side is None else int(side) for domain, side in sides.items()}


def _plain(value: Any) -> Any:
    """Tuples as the lists that JSON would make of them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def find_snapshot(path: str | Path) -> Path:
    """The snapshot folder at ``path``: itself, or the newest one of a run folder.

    Raises:
        UserError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        what = "is a file" if path.exists() else f"does not exist{did_you_mean(path)}"
        raise UserError(f"{path} {what}; give a run folder, or one of its snapshots.")
    if (path / CONFIG_FILE).exists() or (path / WEIGHTS_FILE).exists():
        return path
    return list_snapshots(path)[-1]


def list_snapshots(run: str | Path) -> list[Path]:
    """All snapshot folders of a run folder, oldest first.

    Raises:
        UserError: there is none, or ``run`` is a snapshot itself.
    """
    run = Path(run)
    if not run.is_dir():
        what = "is a file" if run.exists() else f"does not exist{did_you_mean(run)}"
        raise UserError(f"{run} {what}; give a run folder.")
    if (run / CONFIG_FILE).exists():
        raise UserError(f"{run} is a single snapshot; give the run folder that it lies in.")
    places = [p for folder in (run / "snapshots", run) if folder.is_dir() for p in folder.iterdir() if p.is_dir()]
    found = [(int(match[1]), p) for p in places if (match := _NAME.fullmatch(p.name))]
    if not found:
        raise UserError(
            f"{run} has no snapshot yet; training writes one every training.snapshot_kimg, when a signal stops it, and "
            "at its end."
        )
    return [p for _, p in sorted(found)]


def model_class(folder: Path) -> type[SnapshotModel]:
    """What the networks of a snapshot folder are loaded as.

    Raises:
        UserError: its ``config.json`` is wrong, or names a task that ``MODELS`` does not have.
    """
    task = read_config(folder).task
    if task not in MODELS:
        raise UserError(f"{folder / CONFIG_FILE}: task: there is no {task!r}; the known ones are {', '.join(MODELS)}.")
    return MODELS[task]


def load(path: str | Path, device: str = "cpu", *, revision: str | None = None) -> SnapshotModel:
    """Read a trained model: a :class:`Generator`, a :class:`Translator`, or what else ``MODELS`` holds.

    Args:
        path: a run folder (its newest snapshot is taken), a snapshot folder, or as text ``user/model``, which is
            fetched from the Hugging Face Hub if there is neither such a folder nor one called ``user``.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...
        revision: of a model of the Hub: a branch, a tag or a commit; default: ``main``.

    Raises:
        UserError: there is no snapshot, its files do not fit exactly, or a revision of a folder is asked for.
    """
    if is_hub_name(path):
        folder = fetch_model(str(path), revision=revision)
    elif revision is not None:
        raise UserError(f"{path} is a folder, or none of the Hugging Face Hub, and has no revision {revision}.")
    else:
        folder = find_snapshot(path)
    model = read_model(folder, model_class(folder), device)
    model.snapshot = folder
    return model


def pull_model(
    name: str, folder: str | Path, *, revision: str | None = None, token: str | bool | None = None
) -> SnapshotModel:
    """Download a model of the Hub into a new folder, with its recipe, card, figures and samples, and load it.

    Args:
        name: ``user/model``.
        folder: to create; an empty one will do. It is a snapshot, which :func:`load` and all commands take.
        revision: a branch, a tag or a commit; default: ``main``.
        token: as in ``huggingface_hub``.

    Returns:
        The model, from the folder.

    Raises:
        UserError: the folder holds something, there is no such model, or its files do not fit exactly: then no folder
            is left.
    """
    check_name(name)
    folder = Path(folder)
    check_new(folder)
    others = (RECIPE_FILE, CARD_FILE, FIGURES_FILE, f"{SAMPLES}/*.png")
    with atomic_folder(folder) as made:
        files = (CONFIG_FILE, WEIGHTS_FILE, *others)
        fetch_model(name, revision=revision, token=token, local_dir=made, files=files)
        shutil.rmtree(made / ".cache", ignore_errors=True)  # notes of huggingface_hub
        try:
            read_model(made, model_class(made))
        except UserError as error:
            raise UserError(str(error).replace(str(made), name)) from None
    return load(folder)


def load_as(kind: type[M], path: str | Path, device: str = "cpu") -> M:
    """Read a trained model that must be of one class, such as :class:`Generator`.

    Args:
        kind: the class.
        path, device: as in :func:`load`.

    Raises:
        UserError: as :func:`load`, or it is another model.
    """
    model = load(path, device)
    if not isinstance(model, kind):
        remedy = f"use progcycle {model.command}" if model.command else "give another run"
        raise UserError(f"{path} holds {model.kind}, and this is for {kind.kind}; {remedy}.")
    return model
