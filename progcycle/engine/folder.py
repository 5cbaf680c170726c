"""Checks that a run may continue in a run folder: recipe, growth plan and pictures must fit its checkpoints."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from progcycle.data import PictureSet, describe_change
from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.recipe import CHANGEABLE, Recipe, RecipeError, difference, dump, load_recipe
from progcycle.runtime import checkpoint
from progcycle.runtime.parallel import first_message
from progcycle.runtime.rendezvous import gather_texts
from progcycle.runtime.writer import CheckpointPolicy
from progcycle.schedule import GrowthSchedule

# Keys with paths of pictures and labels; they may change if the pictures stay the same.
PATHS = ("data.path", "data.root", "data.a.path", "data.b.path", "data.labels")
AUTOMATIC = ("no", "bf16")  # what the precision ``auto`` may stand for


@dataclass(frozen=True)
class CheckpointInfo:
    """What is known of the newest checkpoint of a run before it is loaded.

    Attributes:
        nimg: pictures shown at the newest one.
        state: ``state.json`` of the newest readable one, see :func:`progcycle.engine.state.checkpoint_content`.
    """

    nimg: int
    state: dict[str, Any] = field(default_factory=dict)


def fallback_of(run_dir: Path, recipe: Recipe) -> Path | None:
    """A run's own folder in ``training.fallback_dir``: under the path of its run folder, which no other run has."""
    if recipe.training.fallback_dir is None:
        return None
    own = run_dir.resolve()
    return Path(recipe.training.fallback_dir) / own.relative_to(own.anchor)


def checkpoint_policy(run_dir: Path, recipe: Recipe) -> CheckpointPolicy:
    """Where the checkpoints of a run go, and how many stay, as its recipe says."""
    options = recipe.training
    every = None if options.permanent_kimg is None else max(round(1000 * options.permanent_kimg), 1)
    record = "recipe.yaml", dump(recipe)
    return CheckpointPolicy(run_dir, record, options.keep_checkpoints, every, fallback_of(run_dir, recipe))


def checkpoint_folders(run_dir: Path, recipe: Recipe) -> list[Path]:
    """Where the checkpoints of a run may be: in the run folder, and in the fallback folder if the recipe has one."""
    places = (run_dir, fallback_of(run_dir, recipe))
    return [place / "checkpoints" for place in places if place is not None]


def has_checkpoint(run_dir: Path, recipe: Recipe) -> bool:
    """Whether a run will resume from a checkpoint rather than start afresh."""
    return bool(_checkpoints(run_dir, recipe))


def newest_checkpoint(run_dir: Path, recipe: Recipe) -> Path | None:
    """The newest checkpoint, from which a run resumes unless it is damaged; None if there is none."""
    return next(iter(_checkpoints(run_dir, recipe)), None)


def read_checkpoint_info(run_dir: Path, recipe: Recipe) -> CheckpointInfo | None:
    """Read what is known of the newest checkpoint without loading it; None if there is none."""
    found = _checkpoints(run_dir, recipe)
    if not found:
        return None
    state = next((state for path in found if (state := checkpoint.read_state(path))), {})
    return CheckpointInfo(int(found[0].name.removeprefix("nimg-")), state)


def _checkpoints(run_dir: Path, recipe: Recipe) -> list[Path]:
    """The newest first."""
    found = [path for folder in checkpoint_folders(run_dir, recipe) for path in checkpoint.checkpoints(folder)]
    return sorted(found, key=lambda path: path.name, reverse=True)


def check_folder(run_dir: Path, recipe: Recipe, record: CheckpointInfo | None) -> list[str]:
    """Check that a run may be written into a folder.

    A folder without checkpoints accepts any recipe, unless it holds snapshots, with which a fresh run would mix its
    own, or a recipe that was written by hand. A folder with checkpoints accepts a recipe that differs only in keys of
    ``CHANGEABLE``, in the growth plan beyond the pictures already shown, in a precision of the same meaning, and in
    paths of pictures.

    Args:
        run_dir: the folder.
        recipe: of the run that is to be written there.
        record: what is known of the newest checkpoint.

    Returns:
        Lines ``key: old -> new`` of paths that differ, for :func:`check_pictures`.

    Raises:
        UserError: the folder belongs to another recipe, or there is a file in its place.
    """
    place = next(folder for folder in (run_dir, *run_dir.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise UserError(f"The run folder {run_dir} cannot be made, because {place} is a file; choose another one.")
    path = run_dir / "recipe.yaml"
    if not path.exists():
        return []
    try:
        old = load_recipe(path)
    except RecipeError as error:
        raise UserError(
            f"{run_dir} holds a run whose recipe cannot be read ({error}); use another --run-dir."
        ) from None
    if record is None:
        _check_without_checkpoints(run_dir, old, recipe)
        return []
    precision = recipe.training.precision
    same = record.state.get("precision") in AUTOMATIC and precision in ("auto", record.state["precision"])
    changes = difference(old, recipe, free=(*CHANGEABLE, *(["training.precision"] if same else [])))
    moved = [line for line in changes if line.partition(":")[0] in PATHS]
    changes = [line for line in changes if line not in moved]
    planned = [line for line in changes if line.startswith("schedule.")]
    differs_at = _first_difference(old, recipe, record.nimg) if planned else None
    if differs_at is None:
        changes = [line for line in changes if line not in planned]
    if changes:
        message = (
            f"{run_dir} holds a run of another recipe; use another --run-dir, or undo these changes: "
            + "; ".join(changes)
        )
        if differs_at is not None:
            message += (
                f"; the growth plan may change only beyond the {record.nimg / 1000:g} kimg already trained, and this "
                f"one differs from {differs_at / 1000:g} kimg on"
            )
        raise UserError(f"{message}.")
    return moved


def _check_without_checkpoints(run_dir: Path, old: Recipe, recipe: Recipe) -> None:
    if not difference(old, recipe, free=CHANGEABLE):
        return
    results = [name for name in ("snapshots", "best") if (run_dir / name).exists()]
    if results:
        where = " and ".join(str(run_dir / name) for name in results)
        raise UserError(
            f"{where} hold{'s' * (len(results) == 1)} results of another recipe, whose checkpoints are gone; use "
            "another --run-dir, or move them away."
        )
    path = run_dir / "recipe.yaml"
    if path.read_text(encoding="utf-8") != dump(old):
        raise UserError(
            f"{path} holds another recipe, which was written or edited by hand and would be overwritten; use another "
            "--run-dir, or rename that file."
        )


def check_pictures(
    run_dir: Path,
    record: CheckpointInfo | None,
    sets: Mapping[str, PictureSet],
    identities: Mapping[str, dict[str, Any]],
    moved: Sequence[str],
) -> list[str]:
    """Compare the pictures of a resumed run with those that it was trained on.

    If the paths are unchanged, changed pictures give a warning; if the paths changed, the pictures must be the same.

    Args:
        run_dir: the run folder.
        record: what is known of the newest checkpoint.
        sets: training pictures by domain.
        identities: of these, see :func:`progcycle.data.identity`.
        moved: from :func:`check_folder`.

    Returns:
        Sentences about pictures that changed or moved.

    Raises:
        UserError: the paths changed, and so did the pictures.
    """
    if record is None:
        return []
    before: dict[str, dict[str, Any]] = record.state.get("pictures", {})
    if moved and not before:
        raise UserError(
            f"The run in {run_dir} was trained on pictures in other folders, and its checkpoints are too old to record "
            f"which pictures these were; use another --run-dir, or undo these changes: {'; '.join(moved)}."
        )
    notes = []
    for domain, known in before.items():
        change = describe_change(known, identities[domain]) if domain in identities else ""
        if moved and change:
            raise UserError(
                f"The run in {run_dir} was trained on other pictures of domain {domain}: {change}; use another "
                f"--run-dir, or undo these changes: {'; '.join(moved)}."
            )
        if change:
            notes.append(
                f"warning: domain {domain}: {change}; training continues with the pictures that are there now."
            )
        elif moved:
            where = ", ".join(sets[domain].paths)
            notes.append(f"domain {domain}: the same {known['count']:,} pictures as before, now in {where}")
    return notes


def check_frozen(run_dir: Path, record: CheckpointInfo | None, frozen: Mapping[str, str]) -> None:
    """Compare the frozen parameters of a resumed run with those that it was trained with.

    Args:
        run_dir: the run folder.
        record: what is known of the newest checkpoint.
        frozen: hashes by network, see :func:`progcycle.engine.trainable.frozen_hashes`; the same in every process.

    Raises:
        UserError: it is not the same, in the checkpoint or in another process.
    """
    if len(set(gather_texts(json.dumps(frozen, sort_keys=True)))) > 1:
        raise UserError(
            f"The processes of {run_dir} have not the same frozen weights in {' or '.join(frozen)}; give all machines "
            "the same files."
        )
    known = record.state.get("frozen") if record else None
    if not isinstance(known, Mapping):  # not of a version that tells
        return
    others = [name for name in {**known, **frozen} if known.get(name) != frozen.get(name)]
    if others:
        raise UserError(
            f"{run_dir} holds a run that was trained with other frozen weights in {' and '.join(others)}; bring back "
            "the file that they come from, or use another --run-dir."
        )


def _first_difference(old: Recipe, new: Recipe, nimg: int) -> int | None:
    try:
        return GrowthSchedule.of(old).first_difference(GrowthSchedule.of(new), nimg)
    except UserError:  # a plan that this version refuses
        return 0


def write_recipe(run_dir: Path, recipe: Recipe, accelerator: Accelerator) -> None:
    """Write the resolved recipe into a run folder, as it is now.

    Raises:
        UserError: the folder cannot be written.
    """
    path, text = run_dir / "recipe.yaml", dump(recipe)
    if accelerator.is_main_process:
        try:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                with atomic_file(path) as temporary:
                    temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"The run folder {run_dir} cannot be written ({error.strerror}); choose another one."
            ) from None
    first_message("")
