"""The context of a run, set up and checked before anything is written: processes, precision, trackers, pictures."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from progcycle.data import (
    PictureSet,
    StagedFiles,
    Staging,
    cache_warning,
    describe_scale,
    identity,
    resolve_sets,
    resolve_test_sets,
    resolve_validation_sets,
    staging_folder,
)
from progcycle.engine.build import check_batches
from progcycle.engine.compiled import Compilation, choose_compilation
from progcycle.engine.folder import check_folder, check_pictures, fallback_of, newest_checkpoint, read_checkpoint_info
from progcycle.engine.launch import check_environment, check_processes, missing_processes, overridden_variables
from progcycle.engine.precision import (
    Before,
    Precision,
    agree_on_precision,
    convolutions_to_measure,
    disable_tf32,
)
from progcycle.engine.trackers import check_trackers, close_trackers
from progcycle.output import safe_output
from progcycle.recipe import Recipe
from progcycle.runtime import failures
from progcycle.runtime.cores import crowded_cores, local_processes
from progcycle.runtime.rendezvous import main_process_first
from progcycle.schedule import GrowthSchedule


@dataclass(frozen=True)
class RunContext:
    """The context of a run: everything outside the networks that training needs.

    Attributes:
        accelerator: the processes; trackers are not started yet.
        precision: the number format.
        compilation: what of the networks is compiled.
        sets: training pictures by domain.
        tests: test pictures by domain, where there are some.
        validation: held-out training pictures by domain, where the recipe holds some out.
        identities: of the training pictures by domain, see :func:`progcycle.data.identity`.
        notes: lines to log once: settings of the launcher that are not used, what changed since a resumed run was
            stopped, and pictures that are not cached.
    """

    accelerator: Accelerator
    precision: Precision
    compilation: Compilation
    sets: dict[str, PictureSet]
    tests: dict[str, PictureSet]
    validation: dict[str, PictureSet]
    identities: dict[str, dict[str, Any]]
    notes: tuple[str, ...]

    def remarks(self) -> list[str]:
        """Lines to log once about files in the picture folders that are left out."""
        tests = {f"{domain} (test pictures)": pictures for domain, pictures in self.tests.items()}
        return [f"{name}: {remark}" for name, pictures in (self.sets | tests).items() for remark in pictures.remarks]


def cache_folder(run_dir: Path) -> Path:
    """The folder of the picture caches, shared by the runs in the same folder."""
    return run_dir.parent / ".cache"


def set_up(
    recipe: Recipe,
    run_dir: Path,
    schedule: GrowthSchedule,
    cache_dir: Path | None = None,
    networks: Mapping[str, nn.Module] = MappingProxyType({}),
) -> RunContext:
    """Create the context of a run and check all that can be checked before the first step; nothing is written.

    Args:
        recipe: a validated recipe.
        run_dir: the run folder.
        schedule: the growth plan.
        cache_dir: folder of the caches of pictures; default: that of :func:`cache_folder`.
        networks: of the task, with or without memory; ``training.precision: auto`` is measured by their widths, and
            without them follows from the device.

    Raises:
        UserError: the launch, the trackers, the batch sizes, the precision, the pictures or the run folder do not fit.
    """
    check_trackers(recipe)
    check_environment()
    accelerator = Accelerator(
        mixed_precision="no",
        log_with=list(recipe.training.trackers) or None,
        project_dir=run_dir,
    )
    check_processes(accelerator)
    failures.start_watchdog(accelerator, lambda: newest_checkpoint(run_dir, recipe))
    choose_algorithms(accelerator.device)
    check_batches(recipe, schedule, accelerator.num_processes)
    record = read_checkpoint_info(run_dir, recipe)
    state = record.state if record else {}
    measured = state.get("precision_measured")
    before = Before(state.get("precision"), measured if isinstance(measured, Mapping) else {})
    convolutions = convolutions_to_measure(networks, schedule, accelerator.num_processes)
    precision = agree_on_precision(recipe.training.precision, accelerator, before, convolutions)
    compilation = choose_compilation(recipe.training, accelerator.device, schedule)
    places = [folder for folder in (run_dir, fallback_of(run_dir, recipe)) if folder is not None]
    moved = [line for folder in places for line in check_folder(folder, recipe, record)]
    caches = cache_dir or cache_folder(run_dir)
    sets, tests, validation = (
        resolve(recipe.data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=caches)
        for resolve in (resolve_sets, resolve_test_sets, resolve_validation_sets)
    )
    identities = {domain: identity(pictures) for domain, pictures in sets.items()}
    notes = [*overridden_variables(precision, recipe.training.precision), *missing_processes(accelerator)]
    if accelerator.device.type == "cpu":
        notes += crowded_cores(torch.get_num_threads(), local_processes(accelerator.num_processes))
    notes += check_pictures(run_dir, record, sets, identities, moved)
    if compilation != Compilation():
        notes.append(f"compiled networks: {compilation}")
    resolutions = sorted({phase.resolution for phase in schedule.phases})
    notes += [line for pictures in sets.values() if (line := cache_warning(pictures, resolutions))]
    scales = {d: describe_scale(sets[d].options, recipe.resolution) for d in sets if d in tests or d in validation}
    notes += [f"domain {domain}: {words}" for domain, words in scales.items() if words]
    notes += [f"domain {d}: {p.levels.words}" for d, p in sets.items() if not p.levels.plain]
    if record and record.state and before.name is None and recipe.training.precision == "auto":
        notes.append(f"the checkpoint does not record which precision auto chose; from here on it is {precision}")
    if record and record.state.get("device", accelerator.device.type) != accelerator.device.type:
        notes.append(
            f"the checkpoint was written on {record.state['device']}, this run is on {accelerator.device.type}"
        )
    return RunContext(accelerator, precision, compilation, sets, tests, validation, identities, tuple(notes))


def choose_algorithms(device: torch.device) -> None:
    """Let cuDNN benchmark its algorithms, as sizes change only with the stage, and switch off TF32.

    The choice may differ from run to run, and rounding with it, so not if torch is set to be deterministic.
    """
    if device.type == "cuda":
        disable_tf32()
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()


def end(accelerator: Accelerator, last: bool) -> None:
    """Close the trackers; after the last run of these processes, also the process group."""
    close_trackers(accelerator)
    if last:
        failures.stop_watchdog()
        accelerator.end_training()


@safe_output()
def prepare_data(
    context: RunContext, schedule: GrowthSchedule, report: Callable[[str], None] = lambda line: None
) -> None:
    """Build the caches that are missing, in the first process, while the others wait and then find them.

    Args:
        context: with the pictures.
        schedule: the growth plan.
        report: called with a line about where the caches are, and how large.
    """
    resolutions = sorted({phase.resolution for phase in schedule.phases})
    sets = (*context.sets.values(), *context.validation.values())
    sizes = [pictures.cache_bytes(resolutions) for pictures in sets]
    total, missing = sum(size for size, _ in sizes), sum(size for _, size in sizes)
    for folder in {pictures.cache.folder.parent: None for pictures in sets if pictures.cache and total}:
        here = Path.cwd()
        where = folder.relative_to(here) if folder.is_relative_to(here) else folder
        new = f", {_megabytes(missing)} of it built now" if 0 < missing < total else ", built now" if missing else ""
        report(f"cache of pictures: {_megabytes(total)}{new}, in {where}")
    with main_process_first(context.accelerator.is_main_process):
        for pictures in sets:
            pictures.prepare(resolutions, progress=context.accelerator.is_main_process)


def staging_of(
    context: RunContext, recipe: Recipe, schedule: GrowthSchedule, report: Callable[[str], None]
) -> Staging | None:
    """What copies pictures to ``data.stage_to``, in the first process of each machine; None elsewhere, or without it.

    Args:
        context: with the pictures.
        recipe: with the folder.
        schedule: the growth plan.
        report: called with a sentence for the user, from another thread.
    """
    if recipe.data.stage_to is None or not context.accelerator.is_local_main_process:
        return None
    sets = tuple(context.sets.values())

    def files(resolution: int) -> list[Path]:
        return [file for pictures in sets for file in pictures.files_of(resolution)]

    resolutions = sorted({phase.resolution for phase in schedule.phases})
    if not any(map(files, resolutions)):
        report("data.stage_to does nothing for pictures in single files; progcycle prepare makes a store of them")
    return Staging(StagedFiles(staging_folder(recipe.data.stage_to)), files, resolutions, report)


def _megabytes(size: int) -> str:
    return f"{max(size / 1e6, 0.1):,.1f} MB"


def loader_workers(recipe: Recipe, accelerator: Accelerator) -> int:
    """Loader processes of this process."""
    if recipe.data.workers is not None:
        return recipe.data.workers
    if accelerator.device.type == "cpu":
        return 0
    share: int = (os.cpu_count() or 1) // accelerator.num_processes
    return min(8, max(1, share - 1))
