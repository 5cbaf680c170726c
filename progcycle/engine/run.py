"""A run: a trainer with its folder, log, checkpoints, clock, alarms and page, and the schedule of what is written."""

import signal
import time
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from accelerate.utils import gather_object
from safetensors import SafetensorError

from progcycle.data import Batch, build_loader
from progcycle.engine.alarms import Alarms, check_samples, check_saturation
from progcycle.engine.attempts import Attempts, RollbackError
from progcycle.engine.best import BestFolder
from progcycle.engine.build import build
from progcycle.engine.clock import CpuClock
from progcycle.engine.context import cache_folder, loader_workers, set_up, staging_of
from progcycle.engine.description import describe_run
from progcycle.engine.folder import (
    check_frozen,
    checkpoint_folders,
    checkpoint_policy,
    has_checkpoint,
    read_checkpoint_info,
    write_recipe,
)
from progcycle.engine.formatting import folded
from progcycle.engine.initial_weights import set_initial_weights
from progcycle.engine.loader_wait import LoaderWait
from progcycle.engine.log import RunLog
from progcycle.engine.memory import MemoryAdvice
from progcycle.engine.meter import peak_memory
from progcycle.engine.non_finite import find_non_finite, write_non_finite_report
from progcycle.engine.page import FILE_NAME as PAGE
from progcycle.engine.page import RunPage
from progcycle.engine.plots import plot_curves, plot_plan
from progcycle.engine.random_state import RandomState
from progcycle.engine.samples import evenly_spaced, make_panel, sample_sheet, sampling_costs
from progcycle.engine.state import Part, checkpoint_content, restore, upgrade_record
from progcycle.engine.trainable import frozen_hashes
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.evaluation import evaluator
from progcycle.evaluation.sampler import EvaluationCallback
from progcycle.export import save_snapshot
from progcycle.files import remove_temporaries
from progcycle.output import LOGGER
from progcycle.recipe import Recipe
from progcycle.runtime import checkpoint
from progcycle.runtime.checkpoint import Content, folder_name
from progcycle.runtime.lock import RunLock
from progcycle.runtime.parallel import Votes
from progcycle.runtime.stop import SIGNALS, StoppedError, StopSignals, agreed_signal
from progcycle.runtime.writer import CheckpointWriter
from progcycle.schedule import Growth

Batches = Iterable[tuple[int, Growth, dict[str, Batch]]]


class Run:
    """A run, ready for :func:`progcycle.engine.train.train_run`, which resumes it from its newest checkpoint.

    Args:
        recipe: a validated recipe.
        run_dir: the run folder.
        preparation: what to train in place of the recipe's task, see :func:`build`.
        cache_dir: folder of the caches of pictures; default: ``.cache`` beside the run folder.
        signals: whether the signals of ``runtime/stop.py`` stop the run with a checkpoint.
        lock: taken before anything is written, and released by the caller.
        already_logged: lines of the context that an earlier run of the same command has logged already.
        evaluate: what measures the run, where it was made already; default: that of :func:`evaluator`.

    Attributes:
        trainer: does the steps.
        frozen: hashes of what its networks have frozen, by network.
        parts: what a checkpoint holds, by name, see :mod:`progcycle.engine.state`.

    Raises:
        UserError: anything in the recipe, the data or the run folder that cannot work.
    """

    def __init__(
        self,
        recipe: Recipe,
        run_dir: Path,
        preparation: str | None = None,
        cache_dir: Path | None = None,
        signals: bool = False,
        lock: RunLock | None = None,
        already_logged: Collection[str] = (),
        evaluate: EvaluationCallback | None = None,
    ) -> None:
        self.recipe, self.run_dir = recipe, run_dir
        self.evaluate = evaluate or evaluator(recipe, cache_dir or cache_folder(run_dir))
        built = build(recipe, preparation)
        self.schedule = built.schedule
        self.context = set_up(recipe, run_dir, self.schedule, cache_dir, built.task.networks)
        self.accelerator = self.context.accelerator
        fresh = not has_checkpoint(run_dir, recipe)
        self.frozen = frozen_hashes(built.task.networks)
        check_frozen(run_dir, read_checkpoint_info(run_dir, recipe), self.frozen)
        begun = set_initial_weights(recipe, run_dir, built.task.networks, preparation) if fresh else ()
        if lock is not None:
            lock.take(self.accelerator)
        write_recipe(run_dir, recipe, self.accelerator)
        self.main = bool(self.accelerator.is_main_process)
        self.log = RunLog(self.accelerator, run_dir, self.schedule)
        self.writer = CheckpointWriter(self.accelerator, checkpoint_policy(run_dir, recipe), self.log.info)
        self.clock = CpuClock(self.writer.cpu_seconds)
        self.stop = StopSignals(signals)
        self.votes = Votes(self.accelerator, lambda: [*self.stop.votes(), *self.writer.votes()])
        self.trainer = Trainer(
            recipe, built, self.accelerator, self.context.precision, self.votes, self.context.compilation
        )
        self.memory = MemoryAdvice(
            recipe, self.schedule, self.accelerator, lambda: self.writer.begun_at, preparation is not None
        )
        evaluation = recipe.training.evaluation
        self.best = BestFolder(run_dir, evaluation.best if evaluation else None, self.schedule.final.resolution)
        for line in (*self.context.notes, *begun):
            if line not in already_logged:
                self.log.info(line)
        self.already_logged = already_logged
        self.alarms = Alarms(self.schedule.total, self.log.info)
        self.attempts = Attempts(recipe.training.recovery, run_dir)
        self.description = describe_run(recipe, run_dir, preparation, self.schedule, self.context, self.trainer)
        self.page = RunPage(run_dir, self.schedule, self.description, self.log, self.main)
        self.broken: list[str] = []  # sentences about broken pictures, not logged yet
        self.parts = {
            **self.trainer.parts,
            "rng": Part(RandomState(self.accelerator.device), "own"),
            "attempts": Part(self.attempts, "values"),
            "alarms": Part(self.alarms, "values"),
            "clock": Part(self.clock, "values"),
            "log": Part(self.log, "values"),  # the last one, since it cuts a file
        }

    @property
    def finished(self) -> bool:
        """Whether the plan is at its end."""
        return self.trainer.nimg >= self.schedule.total

    @property
    def cpu_seconds(self) -> float:
        """CPU time of training in this process, since the run began; see :class:`progcycle.engine.clock.CpuClock`.

        What evaluations, samples, snapshots and checkpoints take is left out, and so are the loader's workers. A killed
        run counts from its last checkpoint.
        """
        return self.clock.seconds

    # --- steps ---------------------------------------------------------------------------------------------------

    def initialize(self) -> None:
        """Let the task set weights by real pictures; a resumed run has them in its checkpoint."""
        growth, sets, device = self.schedule.at(0), self.context.sets, self.accelerator.device
        self.trainer.initialize(lambda domain, count: evenly_spaced(sets[domain], count, growth, device), growth)

    def batches(self, waiting: LoaderWait) -> Generator[tuple[int, Growth, dict[str, Batch]], None, None]:
        """This process's batches from where the run stands, and the growth that goes with them.

        Args:
            waiting: called during waits for pictures and for the other processes; gets every step's growth.
        """
        loader = build_loader(
            self.context.sets,
            self.schedule,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            start_nimg=self.trainer.nimg,
            workers=loader_workers(self.recipe, self.accelerator),
            pin_memory=self.accelerator.device.type == "cuda",
            shift=self.attempts.shift,
            on_wait=waiting,
            report=self.log.info,
        )
        factor = self.attempts.lr_factor
        sentences: list[str] = []  # of another thread
        staging = staging_of(self.context, self.recipe, self.schedule, sentences.append)
        try:
            for nimg, growth, batches in loader:
                if staging is not None:
                    staging.at(growth.resolution)
                while sentences:
                    self.log.info(sentences.pop(0))
                waiting.wait_for_processes()
                waiting.growth = growth
                yield nimg, replace(growth, lr_scale=growth.lr_scale * factor), batches
        finally:
            loader.close()
            if staging is not None:
                staging.close()

    def steps(self, loader: Batches) -> None:
        """Train on all batches, and write what is due.

        Raises:
            UserError: a figure was not finite, or something cannot be written.
            RollbackError: a figure was not finite, and another attempt is to be made.
            StoppedError: a signal stopped the run, and its checkpoint is written.
        """
        if self.trainer.nimg == 0:
            self.write_samples(self.schedule.at(0))
            self.page.write(0)
        clock, shown = (began := time.perf_counter()), self.trainer.nimg
        self.clock.start()
        for nimg, growth, batches in loader:
            self.broken += [f"domain {d}: {sentence}" for d, batch in batches.items() for sentence in batch.broken]
            with self.memory.explain(growth):
                self.train_step(batches, growth)
            before = time.perf_counter()
            self.log.time_left.step(growth, before - began)
            self.log.progress(growth.batch_size)
            if told := self.due(nimg, self.recipe.training.status_kimg):
                self.status(growth, self.trainer.nimg - shown, before - clock)
                clock, shown = before, self.trainer.nimg
            with self.clock.paused():
                votes = self.votes.read()
                self._handle_writer_votes(votes)
                self.write_due(nimg, growth)
                if told or self.due(nimg, self.recipe.training.sample_kimg):
                    self.page.write(self.trainer.nimg)
                if votes and (number := agreed_signal(votes[: len(SIGNALS)])):
                    self.save_and_stop(number, growth)
            began = time.perf_counter()
            clock += began - before
            self.log.time_left.add_overhead(began - before)
        self.clock.stop()
        self.writer.finish()
        self._stop_if_unwritable()

    def train_step(self, batches: Mapping[str, Batch], growth: Growth) -> None:
        """One step of the trainer; where it opens a stage, numbers are checked while the stage to blame is known.

        Raises:
            UserError, RollbackError: as :meth:`check_numbers`.
        """
        opens = growth.plan_stage != self.trainer.stage
        if opens:
            self.check_numbers()
            line = f"stage {growth.plan_stage}: {growth.resolution} px opens at {growth.nimg / 1000:g} kimg"
            self.log.info(line + self.schedule.opening(growth))
        self.trainer.train_step(batches, growth)

    def due(self, before: int, every_kimg: float) -> bool:
        """Whether a multiple of ``every_kimg``, or the end, lies in the step that began at ``before``."""
        every = max(round(1000 * every_kimg), 1)
        return before // every != self.trainer.nimg // every or self.finished

    def check_numbers(self) -> None:
        """Check the figures since the last check, and the weights; every process must call this.

        Raises:
            UserError: some of them were not finite; a report is written.
            RollbackError: the same, and ``training.recovery`` has attempts left.
        """
        found = find_non_finite(self.trainer, self.schedule)
        if found is None:
            return
        report = write_non_finite_report(
            found, self.trainer, self.run_dir, self.context.sets, self.schedule, self.attempts
        )
        self.writer.finish()  # the last good one may still be on its way
        if self.attempts.left:
            raise RollbackError(f"{found}; {report}")
        last, number, options = self.writer.last, self.attempts.number, self.attempts.options
        good = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        tried = f", after {number} retries from a checkpoint" if number else ""
        more = 1 + (options.attempts if options else 2)
        raise UserError(
            f"Training stopped: {found}{tried}; {good}; {report}. To retry from the last checkpoint with other "
            f"pictures and lower learning rates, add training.recovery.attempts={more} to the command; or start a new "
            "run with lower learning rates, or with precision bf16 or no."
        )

    # --- log and files ------------------------------------------------------------------------------------------

    def log_introduction(self) -> None:
        """Log what is trained, draw its plan, and measure how much longer steps of later stages take."""
        if not self.main:
            return
        with self.log.tolerating_failure("plan.png"):
            plot_plan(self.schedule, self.run_dir / "plan.png")
        for line in self.context.remarks():
            if line not in self.already_logged:
                self.log.info(line)
        processes, device = self.accelerator.num_processes, self.accelerator.device
        for line in (
            self.description.what,
            "; ".join(f"pictures of {domain}: {words}" for domain, words in self.description.pictures.items()),
            f"training on {device.type}, processes: {processes}, precision: {self.context.precision}",
            f"page of the run: {self.run_dir / PAGE}",
        ):
            self.log.info(folded(line))
        channels = {domain: pictures.options.channels for domain, pictures in self.context.sets.items()}
        self.log.time_left.cost = sampling_costs(self.trainer.sampler, self.schedule, channels, processes)

    def status(self, growth: Growth, pictures: int, seconds: float) -> None:
        """Log the steps since the last status line; every process must call this.

        Args:
            growth: of the step just done.
            pictures: shown since the last status line.
            seconds: that they took.

        Raises:
            UserError, RollbackError: as :meth:`check_numbers`.
        """
        self.check_numbers()
        self.log.report_broken(gather_object(self.broken))
        self.broken = []
        trainer = self.trainer
        extra = {"step": trainer.step, "seconds": round(seconds, 3), "images_per_s": float(f"{pictures / seconds:.4g}")}
        extra["cpu_seconds"] = round(self.cpu_seconds, 3)
        if memory := peak_memory(self.accelerator.device):
            extra["memory_gb"] = round(memory / 1e9, 3)
        for player, scaler in trainer.scalers.items():
            extra |= {f"{name}/{player}": value for name, value in scaler.figures().items()}
        figures = trainer.meter.means(self.accelerator)
        self.alarms.update(trainer.nimg, check_saturation(figures, trainer.task.watched))
        extra |= self.alarms.figures() | ({"attempt": self.attempts.number} if self.attempts.number else {})
        with self.writer.collecting_errors():
            self.log.status(trainer.nimg, growth, figures, extra, trainer.task)

    def write_due(self, before: int, growth: Growth) -> None:
        """Write what is due after a step; every process must call this.

        Args:
            before: pictures shown before the step.
            growth: of the step.

        Raises:
            UserError, RollbackError: something is due, and :meth:`check_numbers` refuses; or it cannot be written.
        """
        options = self.recipe.training
        sampled, snapshot, full = (
            self.due(before, every) for every in (options.sample_kimg, options.snapshot_kimg, options.checkpoint_kimg)
        )
        evaluation = options.evaluation is not None and self.due(before, options.evaluation.every_kimg)
        if sampled or snapshot or full or evaluation:
            self.check_numbers()
        if evaluation and self.main:
            began = time.perf_counter()
            with self.memory.explain(growth, "evaluation"):
                self.measure(growth)
            LOGGER.debug(f"evaluated in {time.perf_counter() - began:.1f} s")
        if sampled:
            self.write_samples(growth)
            if self.main and self.log.stats_path.exists():
                with self.log.tolerating_failure("curves.png"):
                    terms = [name for names in self.trainer.task.terms.values() for name in names]
                    plot_curves(self.log.stats_path, self.run_dir / "curves.png", terms)
        if snapshot and self.main:
            with self.writer.collecting_errors():
                self.write_snapshot(self.run_dir / "snapshots" / folder_name(self.trainer.nimg), growth)
        if full:
            self.save()

    def write_samples(self, growth: Growth) -> None:
        """Write a grid of samples, in the first process."""
        if not self.main:
            return
        task, nimg, device = self.trainer.task, self.trainer.nimg, self.accelerator.device
        sets, count = {**self.context.sets, **self.context.tests}, self.recipe.training.sample_count
        began = time.perf_counter()
        with self.memory.explain(growth, "samples"):
            panel = make_panel(task, sets, count, growth, device)
            rows = self.trainer.sampler(growth)(panel)
        if nimg:  # untrained networks raise no alarm
            shown = task.shown(rows, lambda domain: evenly_spaced(sets[domain], count, growth, rows[0].device))
            self.alarms.update(nimg, check_samples(shown))
        LOGGER.debug(f"painted samples in {time.perf_counter() - began:.1f} s")
        self.log.samples(nimg, sample_sheet(task, rows, nimg, growth, self.schedule))

    def measure(self, growth: Growth) -> None:
        """Measure the averages, log the figures, and keep the averages in ``best`` if they did better than ever.

        For the first process only. The others wait for it at the next step, without a limit.
        """
        if self.evaluate is None:
            return
        nimg = self.trainer.nimg
        figures = self.evaluate(self.trainer.sampler(growth), nimg)
        with self.writer.collecting_errors():
            self.log.evaluation(nimg, growth, figures, {"cpu_seconds": round(self.cpu_seconds, 3)})
            if found := self.best.improvement(figures, growth):
                self.write_snapshot(self.best.path, growth, found)
                name, value = found
                self.log.info(f"best so far: {name} {value:.4g} at {nimg / 1000:g} kimg, kept in {self.best.path}")

    def write_snapshot(self, folder: Path, growth: Growth, best: tuple[str, float] | None = None) -> None:
        """Write the averages as a snapshot; for the first process.

        Args:
            folder: where to; what is there already is replaced.
            growth: of the step just done.
            best: figure and value that it is kept for.
        """
        task = self.trainer.task
        save_snapshot(
            folder,
            task=self.recipe.task,
            networks=self.trainer.ema.networks,
            specs={name: task.specs[name] for name in task.ema_of},
            growth=growth,
            base_resolution=self.recipe.network.base_resolution,
            nimg=self.trainer.nimg,
            recipe=self.recipe,
            classes=task.classes,
            cpu_seconds=self.cpu_seconds,
            best=best,
        )

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Begin to write a checkpoint of the run, as it is now; every process must call this.

        Raises:
            UserError: it cannot be written, or the one before it could not.
        """
        self.writer.finish()
        began = time.perf_counter()
        content = self._content()
        self.writer.start(content, time.perf_counter() - began)
        self.votes.forget()

    def _content(self) -> Content:
        facts = {
            "precision": self.context.precision.name,
            "device": self.accelerator.device.type,
            "pictures": self.context.identities,
            **({"precision_measured": measured} if (measured := self.context.precision.measured) else {}),
            **({"frozen": self.frozen} if self.frozen else {}),
        }
        return checkpoint_content(self.parts, self.trainer.nimg, self.accelerator, facts)

    def last_checkpoint(self) -> None:
        """Write a checkpoint, unless one was begun after this very step, and wait for it; every process must call this.

        Raises:
            UserError, RollbackError: as :meth:`check_numbers`, or the checkpoint cannot be written.
        """
        if self.writer.begun_at != self.trainer.nimg:
            self.check_numbers()
            self.save()
        self.writer.finish()

    def resume(self) -> bool:
        """Bring the run to its newest whole checkpoint; a run without one starts afresh.

        Returns:
            Whether there was one.

        Raises:
            UserError: the checkpoints are damaged, or do not fit the recipe's networks.
        """
        folder, *others = checkpoint_folders(self.run_dir, self.recipe)
        if self.main:
            for place in (self.run_dir, self.run_dir / "samples"):
                remove_temporaries(place)
        found = checkpoint.newest_whole(folder, self.log.info, *others)
        if found is None:
            self.log.truncate(0)
            if self.main:
                self.attempts.remove_file()
            return False
        path, record = found
        try:
            self._restore(path, record)
        except (
            UserError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:  # a hostile state.json lacks what it should have
            raise UserError(f"The checkpoint {path} does not fit this run ({' '.join(str(error).split())}).") from None
        trainer = self.trainer
        self.writer.resume_from(path, trainer.nimg)
        self.log.info(f"resumed from {path} at {trainer.nimg / 1000:g} kimg, stage {trainer.stage}")
        return True

    def _restore(self, path: Path, record: Mapping[str, object]) -> None:
        now = upgrade_record(record)
        same = restore(self.parts, path, now, self.accelerator)
        if now["parts"]["clock"]["cpu_seconds"] is None:
            self.log.info("the checkpoint does not record the CPU time before it: cpu_seconds counts from here")
        if not same:
            self.log.info(
                f"the checkpoint was written by {now['processes']} processes, this run has "
                f"{self.accelerator.num_processes}: image pools, feature queues and running figures start empty"
            )

    # --- stopping ------------------------------------------------------------------------------------------------

    def save_and_stop(self, number: signal.Signals, growth: Growth) -> None:
        """Stop on a signal that a process has received; every process must call this at the same step.

        A checkpoint is written first, unless one was begun after this very step, as the sender of the signal may not
        wait long; then a snapshot, so that the run can be used as it is now.

        Args:
            number: the signal.
            growth: of the step just done.

        Raises:
            UserError, RollbackError: as :meth:`last_checkpoint`.
            StoppedError: always, if all went well.
        """
        self.last_checkpoint()
        nimg = self.trainer.nimg
        if self.main:
            snapshot = self.run_dir / "snapshots" / folder_name(nimg)
            try:
                if not snapshot.exists():
                    self.write_snapshot(snapshot, growth)
            except (OSError, SafetensorError) as error:  # the checkpoint is what counts
                self.log.warning(f"the snapshot {snapshot} could not be written ({error}).")
        raise StoppedError(
            number,
            f"stopped by {number.name} at {nimg / 1000:g} kimg with the checkpoint {self.writer.last}; "
            "the same command resumes from there",
        )

    def _handle_writer_votes(self, votes: Sequence[float]) -> None:
        """Go on with the checkpoint on its way, and stop if the run folder cannot be written."""
        written_and_failed = votes[len(SIGNALS) :]
        if written_and_failed:
            self.writer.advance(written_and_failed)
            if written_and_failed[-1]:
                self._stop_if_unwritable()

    def _stop_if_unwritable(self) -> None:
        if reason := self.writer.write_error():
            self.writer.save_and_stop(self._content(), reason)
