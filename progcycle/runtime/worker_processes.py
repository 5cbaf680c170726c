"""Jobs in processes of their own, which end with the process that began them, however that ends."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from progcycle.errors import UserError

Key = TypeVar("Key", bound=Hashable)


class ProcessKilledError(Exception):
    """A process has ended without a word."""


def run_in_processes(
    work: Callable[..., Any], jobs: Mapping[Key, Sequence[Any]], parallel: int
) -> Iterator[tuple[Key, Any]]:
    """Results of jobs as they finish, one process for each: nothing that one leaves behind can touch another.

    Whatever ends the iteration, Ctrl-C too, ends the processes that are on their way.

    Args:
        work: a function of a module.
        jobs: its arguments, by key.
        parallel: so many at a time.

    Yields:
        The key of a job, and its result, or the ``UserError`` that it raised.

    Raises:
        ProcessKilledError: a process was killed.
        Exception: what else a job raised, with its traceback as a note.
    """
    context = multiprocessing.get_context("spawn")
    waiting, going = list(jobs.items()), dict[Connection, tuple[Key, BaseProcess]]()
    try:
        while waiting or going:
            while waiting and len(going) < parallel:
                key, job = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_do, args=(sender, work, tuple(job)))
                with _deaf():
                    process.start()
                sender.close()
                going[receiver] = key, process
            for ready in wait(list(going)):
                assert isinstance(ready, Connection)
                key, running = going[ready]
                try:
                    result, notes = ready.recv()
                except EOFError:
                    raise ProcessKilledError(f"process {running.pid} was killed") from None
                running.join()
                del going[ready]
                ready.close()
                if isinstance(result, Exception) and not isinstance(result, UserError):
                    result.add_note(notes)
                    raise result
                yield key, result
    finally:
        for _, running in going.values():
            running.kill()
            running.join()


def _do(sender: Connection, work: Callable[..., Any], job: tuple[Any, ...]) -> None:
    _end_with_parent()
    notes = ""
    try:
        result = work(*job)
    except Exception as error:
        import traceback

        result, notes = _that_travels(error), traceback.format_exc()
    sender.send((result, notes))


def _that_travels(error: Exception) -> Exception:
    """The error, or its words, where pickle could not bring it to the other process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # what its class does with the pickled arguments is its own affair
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """Let this process end when the one that started it does: a run goes on from a checkpoint."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


@contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C, from the first line on: this one does, and ends them in silence."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # It starts with the first process, and lets Ctrl-C through again as it does.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
