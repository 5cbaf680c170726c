"""Checkpoints are written by a thread of their own, while training goes on: it waits for the copies only."""

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
    """Where the checkpoints of a run go, and how many stay.

    Attributes:
        run_dir: the run folder.
        record: name and text of the file that tells what run this is; a run folder without it has vanished, and the
            fallback folder gets it too.
        keep: the newest checkpoints that stay.
        every: pictures; the first checkpoint at or after each multiple of this many stays for good.
        fallback: a folder of this run alone, for what the run folder cannot take.
    """

    run_dir: Path
    record: tuple[str, str]
    keep: int
    every: int | None = None
    fallback: Path | None = None


@dataclass
class _PendingCheckpoint:
    """A checkpoint on its way, in all processes until they know that it has arrived."""

    nimg: int
    content: Content | None
    part: Future[None]
    commit: Future[Path] | None = None
    begun: float = 0.0  # moment
    waited: float = 0.0  # seconds


class CheckpointWriter:
    """Writes one checkpoint at a time. Every process writes its own part, and the first one then gives it its name.

    That all parts are written, and that one cannot be, travels with the gradients (:class:`Votes`): the thread itself
    waits for no other process. Where the run folder cannot take a checkpoint, the fallback folder does.

    Args:
        accelerator: the processes.
        places: where checkpoints go.
        say: told of every checkpoint.

    Attributes:
        last: the newest checkpoint that is whole.
    """

    def __init__(self, accelerator: Accelerator, places: CheckpointPolicy, say: Callable[[str], None]) -> None:
        self.accelerator, self.places, self.run_dir, self.say = accelerator, places, places.run_dir, say
        self.last: Path | None = None
        self.begun_at: int | None = None  # pictures shown at the newest one, whole or not
        self._pending: _PendingCheckpoint | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._clock: int | None = None
        self._spent = 0.0
        self._write_error: Exception | None = None

    @property
    def single_process(self) -> bool:
        """Whether there is one process only."""
        return bool(self.accelerator.num_processes == 1)

    def cpu_seconds(self) -> float:
        """CPU time of the thread so far; 0 where the system does not tell."""
        return self._spent if self._clock is None else self._spent + time.clock_gettime(self._clock)

    def votes(self) -> list[bool]:
        """Whether this process's part of the checkpoint on its way is written, and whether something cannot be."""
        if self._pending is None or self._write_error is not None:
            return [False, self._write_error is not None]
        jobs = [job for job in (self._pending.part, self._pending.commit) if job is not None]
        written = self._pending.part.done()  # asked first: it may fail between the two lines
        failed = any(job.done() and job.exception() is not None for job in jobs)
        return [written and not failed, failed]

    def resume_from(self, path: Path, nimg: int) -> None:
        """Note the checkpoint that a run goes on from, after ``nimg`` pictures; do what an interruption left undone."""
        self.last, self.begun_at = path, nimg
        if self.accelerator.is_main_process:
            checkpoint.remove_leftovers(self._folder)
            if checkpoint.checkpoints(self._folder)[-1:] == [path]:  # a damaged one would count as one that is kept
                self._prune(self._folder)

    def start(self, content: Content, waited: float) -> None:
        """Begin to write; every process must call this, after :meth:`finish`.

        Args:
            content: of this process; nothing may change it any more.
            waited: seconds that copying took.

        Raises:
            UserError: neither the run folder nor the fallback folder can take it.
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
        """Go on with the checkpoint on its way; every process must call this at the end of the same step.

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
        """Wait for the checkpoint on its way; every process must call this at the same moment.

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
        """Remember that a file of the run folder cannot be written, until all processes can act on it together."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            self._write_error = self._write_error or error

    def write_error(self) -> str:
        """The error that :meth:`collecting_errors` caught in any process, or an empty text; a collective call."""
        return self._together(self._raise_write_error)

    def save_and_stop(self, content: Content, reason: str) -> None:
        """Stop the run because of a file that cannot be written; every process must call this, after :meth:`finish`.

        Args:
            content: of a last checkpoint, for the folder that can take it.
            reason: from :meth:`write_error`.

        Raises:
            UserError: always.
        """
        self.start(content, 0.0)
        self.finish()
        raise UserError(f"The run folder {self.run_dir} cannot be written ({reason}); {self._advice()}")

    def close(self) -> None:
        """Let the thread end, and with it what it is writing; no other process is waited for."""
        pending, self._pending = self._pending, None
        if self._thread is None:
            return
        if pending is not None:
            jobs: list[Future[Any]] = [pending.part] if pending.commit is None else [pending.part, pending.commit]
            problem = next((job.exception() for job in jobs if job.exception() is not None), None)
            if problem is not None:
                self.say(f"warning: the checkpoint at {pending.nimg / 1000:g} kimg could not be written ({problem}).")
                checkpoint.discard(self._folder, pending.nimg)
            elif self.single_process or pending.commit is not None:
                self._conclude(pending)
        self._spent, self._clock = self._thread.submit(self.cpu_seconds).result(), None
        self._thread.shutdown()
        self._thread = None

    # --- what one process does -----------------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return self.run_dir / "checkpoints"

    def _find_clock(self) -> None:
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def _prepare(self, nimg: int) -> None:
        if self.accelerator.is_main_process:
            os.stat(self.run_dir / self.places.record[0])  # a folder that has vanished is not made anew
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
        with suppress(OSError):  # one more than wanted is no reason to stop
            checkpoint.prune(folder, self.places.keep, self.places.every)

    def _conclude(self, pending: _PendingCheckpoint) -> None:
        """Tell of a checkpoint that has its name now, and let go of the copies."""
        self.last = self._folder / checkpoint.folder_name(pending.nimg)
        if pending.content is not None and self.accelerator.is_main_process:
            size = sum(path.stat().st_size for path in self.last.iterdir())
            seconds = time.perf_counter() - pending.begun
            self.say(
                f"checkpoint at {pending.nimg / 1000:g} kimg: {size / 1e6:.1f} MB in {seconds:.1f} s, "
                f"of which training waited {pending.waited:.1f} s"
            )
        pending.content = None

    def _raise_write_error(self) -> None:
        error, self._write_error = self._write_error, None
        if error is not None:
            raise error

    # --- what all do together ------------------------------------------------------------------------------------

    def _together(self, work: Callable[..., object], *arguments: object) -> str:
        """Do work in every process; what went wrong with a file in one of them, or an empty text."""
        problem = ""
        try:
            work(*arguments)
        except (OSError, SafetensorError) as error:
            problem = getattr(error, "strerror", None) or str(error)
        return first_message(problem)

    def _fall_back(self, content: Content, reason: str) -> None:
        """Write what the run folder could not take into the fallback folder, while training waits."""
        other, (name, text) = self.places.fallback, self.places.record
        if other is None:
            raise UserError(f"The run folder {self.run_dir} cannot take a checkpoint ({reason}); {self._advice()}")
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
                    f"Neither the run folder {self.run_dir} ({reason}) nor training.fallback_dir {other} ({error}) can "
                    f"take a checkpoint; {self._advice()}"
                )
        self.last = folder / checkpoint.folder_name(content.nimg)
        self.say(f"warning: the run folder cannot take a checkpoint ({reason}); it is in {self.last} instead.")

    def _advice(self) -> str:
        good = f" to go on from {self.last}" if self.last else ""
        return f"make room there, or make it writable, and start the same command again{good}."
