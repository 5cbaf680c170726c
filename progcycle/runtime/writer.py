"""Asynchronous checkpoints: a thread writes them while training goes on, which waits only for the copies."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.runtime import checkpoint
from progcycle.runtime.checkpoint import Content
from progcycle.runtime.parallel import first_message


@dataclass(frozen=True)
class CheckpointPolicy:
    """Where the checkpoints of a run are written, and which of them are kept.

    Attributes:
        run_dir: the run folder.
        record: name and text of the file that identifies the run. A run folder without it has vanished; the fallback
            folder gets a copy.
        keep: how many of the newest checkpoints are kept.
        every: pictures; the first checkpoint at or after each multiple of this number is kept for good.
        fallback: a folder for this run only, used when the run folder cannot be written.
    """

    run_dir: Path
    record: tuple[str, str]
    keep: int
    every: int | None = None
    fallback: Path | None = None


@dataclass
class _PendingCheckpoint:
    """A checkpoint that is being written, until all processes know that it is complete."""

    nimg: int
    content: Content | None
    part: Future[None]
    commit: Future[Path] | None = None
    begun: float = 0.0  # moment
    waited: float = 0.0  # seconds


class CheckpointWriter:
    """Writes one checkpoint at a time. Every process writes its own part; then the first one renames the whole.

    The thread itself waits for no other process: whether all parts are written, or one has failed, travels with the
    gradients (:class:`Votes`). If the run folder cannot be written, the checkpoint goes to the fallback folder.

    Args:
        accelerator: the processes.
        policy: where checkpoints are written, and which are kept.
        report: called with a line about every checkpoint.

    Attributes:
        last: the newest complete checkpoint.
    """

    def __init__(self, accelerator: Accelerator, policy: CheckpointPolicy, report: Callable[[str], None]) -> None:
        self.accelerator, self.policy, self.run_dir, self.report = accelerator, policy, policy.run_dir, report
        self.last: Path | None = None
        self.begun_at: int | None = None  # pictures shown at the newest checkpoint, complete or not
        self._pending: _PendingCheckpoint | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._clock: int | None = None
        self._spent = 0.0
        self._write_error: Exception | None = None

    @property
    def single_process(self) -> bool:
        """Whether the run has a single process."""
        return bool(self.accelerator.num_processes == 1)

    def cpu_seconds(self) -> float:
        """CPU time of the thread so far; 0 if the system does not report it."""
        return self._spent if self._clock is None else self._spent + time.clock_gettime(self._clock)

    def votes(self) -> list[bool]:
        """Whether this process's part of the pending checkpoint is written, and whether a write has failed."""
        if self._pending is None or self._write_error is not None:
            return [False, self._write_error is not None]
        jobs = [job for job in (self._pending.part, self._pending.commit) if job is not None]
        written = self._pending.part.done()  # read first: it may fail between the two lines
        failed = any(job.done() and job.exception() is not None for job in jobs)
        return [written and not failed, failed]

    def resume_from(self, path: Path, nimg: int) -> None:
        """Record the checkpoint, after ``nimg`` pictures, that the run resumes from; remove interrupted ones."""
        self.last, self.begun_at = path, nimg
        if self.accelerator.is_main_process:
            checkpoint.remove_leftovers(self._folder)
            if checkpoint.checkpoints(self._folder)[-1:] == [path]:  # a damaged newer one would be counted as kept
                self._prune(self._folder)

    def start(self, content: Content, waited: float) -> None:
        """Start writing a checkpoint; every process must call this, after :meth:`finish`.

        Args:
            content: of this process; it must not be changed any more.
            waited: seconds that copying took.

        Raises:
            UserError: neither the run folder nor the fallback folder can be written.
        """
        began = time.perf_counter()
        self.begun_at = content.nimg
        if error := self._together(self._prepare, content.nimg):
            self._fall_back(content, error)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "checkpoint", initializer=self._find_clock)
        part = self._thread.submit(self._write, content)
        self._pending = _PendingCheckpoint(
            content.nimg, content, part, None, began, waited + time.perf_counter() - began
        )

    def advance(self, votes: Sequence[float]) -> None:
        """Continue with the pending checkpoint; every process must call this at the end of the same step.

        Args:
            votes: share of the processes with each of :meth:`votes`.

        Raises:
            UserError: as :meth:`start`.
        """
        pending = self._pending
        written, failed = votes
        if failed or (written == 1 and self.single_process):
            self.finish()
        elif pending is None:
            return
        elif written == 1 and self.accelerator.is_main_process:
            if pending.commit is None:
                assert self._thread is not None
                assert pending.content is not None
                pending.commit = self._thread.submit(self._commit, pending.content)
            elif pending.commit.done() and pending.content is not None:
                self._conclude(pending)

    def finish(self) -> None:
        """Wait until the pending checkpoint is complete; every process must call this at the same step.

        Raises:
            UserError: as :meth:`start`.
        """
        pending, began = self._pending, time.perf_counter()
        if pending is None:
            return
        error = self._together(pending.part.result)
        if not error and self.accelerator.is_main_process and not self.single_process and pending.commit is None:
            assert self._thread is not None
            assert pending.content is not None
            pending.commit = self._thread.submit(self._commit, pending.content)
        if not error and not self.single_process:
            error = self._together(lambda: pending.commit and pending.commit.result())
        pending.waited += time.perf_counter() - began
        self._pending = None
        if not error:
            self._conclude(pending)
        elif pending.content is not None:
            if self.accelerator.is_main_process:
                checkpoint.discard(self._folder, pending.nimg)
            self._fall_back(pending.content, error)

    @contextmanager
    def collecting_errors(self) -> Iterator[None]:
        """Catch an error of writing into the run folder, until all processes can handle it at the same step."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            self._write_error = self._write_error or error

    def write_error(self) -> str:
        """The error that :meth:`collecting_errors` caught in any process, or an empty text; a collective call."""
        return self._together(self._raise_write_error)

    def save_and_stop(self, content: Content, reason: str) -> None:
        """Write a last checkpoint and stop, since a file cannot be written; a collective call, after :meth:`finish`.

        Args:
            content: of the last checkpoint, which goes to whichever folder can be written.
            reason: from :meth:`write_error`.

        Raises:
            UserError: always.
        """
        self.start(content, 0.0)
        self.finish()
        raise UserError(f"The run folder {self.run_dir} cannot be written ({reason}); {self._advice()}")

    def close(self) -> None:
        """Let the thread finish what it is writing and end it, without waiting for other processes."""
        pending, self._pending = self._pending, None
        if self._thread is None:
            return
        if pending is not None:
            jobs: list[Future[Any]] = [pending.part] if pending.commit is None else [pending.part, pending.commit]
            problem = next((job.exception() for job in jobs if job.exception() is not None), None)
            if problem is not None:
                self.report(
                    f"warning: the checkpoint at {pending.nimg / 1000:g} kimg could not be written ({problem})."
                )
                checkpoint.discard(self._folder, pending.nimg)
            elif self.single_process or pending.commit is not None:
                self._conclude(pending)
        self._spent, self._clock = self._thread.submit(self.cpu_seconds).result(), None
        self._thread.shutdown()
        self._thread = None

    # --- in one process --------------------------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return self.run_dir / "checkpoints"

    def _find_clock(self) -> None:
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def _prepare(self, nimg: int) -> None:
        if self.accelerator.is_main_process:
            os.stat(self.run_dir / self.policy.record[0])  # a run folder that has vanished is not created again
            checkpoint.prepare(self._folder, nimg)

    def _write(self, content: Content) -> None:
        checkpoint.write_part(self._folder, content)
        if self.single_process:
            self._commit(content)

    def _commit(self, content: Content, folder: Path | None = None) -> Path:
        folder = folder or self._folder
        path = checkpoint.commit(folder, content, self.accelerator.num_processes)
        self._prune(folder)
        return path

    def _prune(self, folder: Path) -> None:
        with suppress(OSError):  # too many checkpoints are no reason to stop
            checkpoint.prune(folder, self.policy.keep, self.policy.every)

    def _conclude(self, pending: _PendingCheckpoint) -> None:
        """Report a checkpoint that is complete, and free the copies."""
        self.last = self._folder / checkpoint.folder_name(pending.nimg)
        if pending.content is not None and self.accelerator.is_main_process:
            size = sum(path.stat().st_size for path in self.last.iterdir())
            seconds = time.perf_counter() - pending.begun
            self.report(
                f"checkpoint at {pending.nimg / 1000:g} kimg: {size / 1e6:.1f} MB in {seconds:.1f} s, "
                f"of which training waited {pending.waited:.1f} s"
            )
        pending.content = None

    def _raise_write_error(self) -> None:
        error, self._write_error = self._write_error, None
        if error is not None:
            raise error

    # --- in all processes together ------------------------------------------------------------------------------------

    def _together(self, work: Callable[..., object], *arguments: object) -> str:
        """Run ``work`` in every process; return the first file error of any of them, or an empty text."""
        problem = ""
        try:
            work(*arguments)
        except (OSError, SafetensorError) as error:
            problem = getattr(error, "strerror", None) or str(error)
        return first_message(problem)

    def _fall_back(self, content: Content, reason: str) -> None:
        """Write the checkpoint into the fallback folder, while training waits."""
        other, (name, text) = self.policy.fallback, self.policy.record
        if other is None:
            raise UserError(
                f"No checkpoint can be written to the run folder {self.run_dir} ({reason}); {self._advice()}"
            )
        folder, main = other / "checkpoints", self.accelerator.is_main_process

        def begin() -> None:
            if main:
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_file(other / name) as path:
                    path.write_text(text, encoding="utf-8")
                checkpoint.prepare(folder, content.nimg)

        def commit() -> None:
            if main:
                self._commit(content, folder)

        for work in (begin, lambda: checkpoint.write_part(folder, content), commit):
            if error := self._together(work):
                if main:
                    checkpoint.discard(folder, content.nimg)
                raise UserError(
                    f"A checkpoint can be written neither to the run folder {self.run_dir} ({reason}) nor to "
                    f"training.fallback_dir {other} ({error}); {self._advice()}"
                )
        self.last = folder / checkpoint.folder_name(content.nimg)
        self.report(
            f"warning: no checkpoint can be written to the run folder ({reason}); it is in {self.last} instead."
        )

    def _advice(self) -> str:
        resume = f" to resume from {self.last}" if self.last else ""
        return f"free space there, or make it writable, and start the same command again{resume}."
