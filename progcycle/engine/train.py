"""Training what a recipe describes: pre-training where the recipe has it, then the task, each in several attempts."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from progcycle.data import Batch, LoaderError, dead_worker
from progcycle.engine.attempts import RollbackError
from progcycle.engine.build import Built, build
from progcycle.engine.context import RunContext, cache_folder, end, prepare_data, set_up
from progcycle.engine.folder import check_frozen, has_checkpoint, read_checkpoint_info, write_recipe
from progcycle.engine.initial_weights import PRETRAINING, load_source_weights
from progcycle.engine.levels import resolve_levels
from progcycle.engine.loader_wait import LoaderWait
from progcycle.engine.memory import explain_out_of_memory, setup_advice
from progcycle.engine.run import Run
from progcycle.engine.trackers import start_trackers
from progcycle.engine.trainable import frozen_hashes
from progcycle.errors import UserError
from progcycle.evaluation import evaluator
from progcycle.evaluation.sampler import EvaluationCallback
from progcycle.output import safe_output
from progcycle.recipe import Recipe
from progcycle.runtime.failures import reporting_failure
from progcycle.runtime.lock import RunLock
from progcycle.runtime.parallel import reporting_errors
from progcycle.runtime.stop import StoppedError, StoppedWhileWaitingError
from progcycle.schedule import Growth

Batches = Generator[tuple[int, Growth, dict[str, Batch]], None, None]


@reporting_failure()
def train(recipe: Recipe, run_dir: Path, signals: bool = False) -> Run:
    """Train what a recipe describes, or go on with it, from pre-training to the end.

    Pre-training is a run in ``<run_dir>/pretraining``. The networks of the task begin from its averages; once the task
    itself has a checkpoint, pre-training is not read again.

    Args:
        recipe: a validated recipe; what it leaves open of the depth and the window of its pictures is found out.
        run_dir, signals: see :class:`Run`.

    Returns:
        The run of the task, at the end.

    Raises:
        UserError: as :class:`Run`; what the task would refuse is refused before pre-training.
        StoppedError: a signal stopped the run, and its checkpoint is written.
    """
    recipe = resolve_levels(recipe, run_dir)
    before = recipe.preparation_recipe
    with explain_out_of_memory(setup_advice), RunLock(run_dir) as lock:
        safety: dict[str, Any] = {"signals": signals, "lock": lock}
        if before is None or has_checkpoint(run_dir, recipe):
            run = Run(recipe, run_dir, **safety)
        else:
            with torch.device("meta"):
                built = build(recipe)
            evaluate = evaluator(recipe, cache_folder(run_dir))
            set_up(recipe, run_dir, built.schedule)
            already_logged = _pretrain(recipe, before, run_dir, safety)
            run = Run(recipe, run_dir, already_logged=already_logged, evaluate=evaluate, **safety)
        train_run(run)
    return run


def check(recipe: Recipe, run_dir: Path) -> tuple[RunContext, EvaluationCallback | None]:
    """Check what can be checked of a run and its pre-training before the first step; nothing is written.

    Args:
        recipe: a validated recipe.
        run_dir: the run folder.

    Returns:
        What the run stands on, see :func:`set_up`, and what measures it, see :func:`evaluator`.

    Raises:
        UserError: anything that cannot work.
    """
    with torch.device("meta"):
        built, first = build(recipe), build_pretraining(recipe)
    evaluate = evaluator(recipe, cache_folder(run_dir))
    context = set_up(recipe, run_dir, built.schedule, networks=built.task.networks)
    before = recipe.preparation_recipe
    if has_checkpoint(run_dir, recipe):
        _check_frozen(run_dir, recipe)
        return context, evaluate
    begins = run_dir
    if before is not None and first is not None:
        begins = run_dir / PRETRAINING
        with _in_section():
            set_up(before, begins, first.schedule, cache_folder(run_dir))
            _check_frozen(begins, before, PRETRAINING)
    if not has_checkpoint(begins, before or recipe):
        networks = built.task.networks  # without memory, unless there are frozen weights to compare
        if any(network.frozen for network in networks.values()):
            networks = build(recipe).task.networks
        load_source_weights(recipe, networks)
    return context, evaluate


def _check_frozen(run_dir: Path, recipe: Recipe, preparation: str | None = None) -> None:
    """Make the networks of a run that goes on with frozen weights, to see whether these are the same."""
    record = read_checkpoint_info(run_dir, recipe)
    if record and record.state.get("frozen"):
        check_frozen(run_dir, record, frozen_hashes(build(recipe, preparation).task.networks))


# --- pre-training -------------------------------------------------------------------------------------------------


def build_pretraining(recipe: Recipe) -> Built | None:
    """Schedule and task of a recipe's pre-training, see :func:`build`; None if it has none.

    Raises:
        UserError: as :func:`build`.
    """
    before = recipe.preparation_recipe
    if before is None:
        return None
    with _in_section():
        return build(before, PRETRAINING)


def _pretrain(recipe: Recipe, before: Recipe, run_dir: Path, options: Mapping[str, Any]) -> frozenset[str]:
    """Train what goes before the task; return the lines of the context that both runs share, now logged."""
    with _in_section():
        run = Run(before, run_dir / PRETRAINING, preparation=PRETRAINING, cache_dir=cache_folder(run_dir), **options)
    write_recipe(run_dir, recipe, run.accelerator)  # from now on the folder belongs to this recipe
    run.log.info(f"pre-training for {run.schedule.total / 1000:g} kimg in {run.run_dir}")
    run.page.redirect_from(run_dir)
    train_run(run, last=False)
    return frozenset([*run.context.notes, *run.context.remarks()])


@contextmanager
def _in_section() -> Iterator[None]:
    """Errors about the schedule name the key that it comes from."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{PRETRAINING}.{error}" if str(error).startswith("schedule") else str(error)) from None


# --- one run ------------------------------------------------------------------------------------------------------


def train_run(run: Run, last: bool = True) -> None:
    """Train from where the run folder stands to the end of the plan.

    Args:
        run: the run.
        last: whether no other run follows in these processes.

    Raises:
        UserError: a figure was not finite, or too many pictures are broken.
        StoppedError: a signal stopped the run, and its checkpoint is written.
    """
    resumed = run.resume()
    if run.finished:
        run.log.info(f"this run is finished, at {run.trainer.nimg / 1000:g} kimg; there is nothing to do")
        run.page.ensure_finished(run.trainer.nimg)
        end(run.accelerator, last)
        return
    start_trackers(run.recipe, run.accelerator, run.run_dir)
    prepare_data(run.context, run.schedule, run.log.info)
    if not resumed:
        run.initialize()
    run.log_introduction()
    try:
        # The page is written while signals are handled: launchers end the others as soon as one process has left.
        with run.stop.listening(), run.page.recording_outcome(lambda: run.trainer.nimg):
            if not resumed and run.recipe.training.recovery:
                with reporting_failure():
                    run.save()  # the checkpoint for a first rollback
            _attempt(run)
    except StoppedError:
        last = True
        raise
    finally:
        run.clock.stop()
        run.writer.close()
        run.log.close()
        end(run.accelerator, last)


@safe_output()
@reporting_failure()
def _attempt(run: Run) -> None:
    """Train to the end of the plan, from the last checkpoint again as often as ``training.recovery`` allows.

    Raises:
        UserError, StoppedError: as :func:`train_run`.
    """
    while True:
        waiting = LoaderWait(run.stop.votes, run.log.info)
        batches = reporting_errors(run.accelerator, run.batches(waiting))
        run.log.start(run.trainer.nimg)
        try:
            _steps(run, batches, waiting)
            return
        except RollbackError as error:
            trouble = str(error)
        finally:
            batches.close()
        _roll_back(run, trouble)


def _steps(run: Run, batches: Batches, waiting: LoaderWait) -> None:
    """Do the steps; where the loader ends them, nothing of those that are done is lost.

    Raises:
        RollbackError: numbers were not finite, even if only the check before the last checkpoint found them.
        UserError, StoppedError: as :func:`train_run`.
    """
    try:
        run.steps(batches)
    except StoppedWhileWaitingError as error:
        run.save_and_stop(error.number, waiting.growth or run.schedule.at(run.trainer.nimg))
    except LoaderError:
        if run.accelerator.num_processes == 1 and run.trainer.nimg:
            run.last_checkpoint()
        raise
    except RuntimeError as error:
        raise dead_worker(error) or error from None


def _roll_back(run: Run, trouble: str) -> None:
    """Return to the newest undamaged checkpoint for the next attempt; every process must call this."""
    number, recovery = run.attempts.number + 1, run.attempts.options
    assert recovery is not None
    run.clock.stop()
    run.log.close()
    run.log.info(
        f"warning: {trouble}; returning to the last checkpoint, attempt {number} of {recovery.attempts}: other "
        f"pictures, learning rates multiplied by {recovery.lr_factor**number:g}"
    )
    run.votes.forget()
    run.trainer.meter.load_state_dict({})
    if not run.resume():
        raise UserError(f"Training stopped: {trouble}; there is no checkpoint in {run.run_dir} to return to.")
    run.page.reread_statistics()
    run.attempts.number = number
    if run.main:
        with run.writer.collecting_errors():
            run.attempts.save_number()
