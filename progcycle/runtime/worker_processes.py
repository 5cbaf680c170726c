"""Runs jobs in processes of their own, which end when the process that started them ends, however it ends."""

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
    """A process ended without returning a result."""


def run_in_processes(
    work: Callable[..., Any], jobs: Mapping[Key, Sequence[Any]], parallel: int
) -> Iterator[tuple[Key, Any]]:
    """Yield the results of jobs as they finish. Each job has a process of its own, so that none affects another.

    The processes that still run are killed when the iteration ends, by Ctrl-C too.

    Args:
        work: a function of a module.
        jobs: its arguments, by key.
        parallel: how many run at a time.

    Yields:
        The key of a job, and its result, or the ``UserError`` that it raised.

    Raises:
        ProcessKilledError: a process was killed.
        Exception: any other error of a job, with its traceback as a note.
    """
    context = multiprocessing.get_context("spawn")
    waiting, active = list(jobs.items()), dict[Connection, tuple[Key, BaseProcess]]()
    try:
        while waiting or active:
            while waiting and len(active) < parallel:
                key, job = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_run_job, args=(sender, work, tuple(job)))
                with _ignoring_ctrl_c():
                    process.start()
                sender.close()
                active[receiver] = key, process
            for ready in wait(list(active)):
                assert isinstance(ready, Connection)
                key, running = active[ready]
                try:
                    result, notes = ready.recv()
                except EOFError:
                    raise ProcessKilledError(f"process {running.pid} was killed") from None
                running.join()
                del active[ready]
                ready.close()
                if isinstance(result, Exception) and not isinstance(result, UserError):
                    result.add_note(notes)
                    raise result
                yield key, result
    finally:
        for _, running in active.values():
            running.kill()
            running.join()


def _run_job(sender: Connection, work: Callable[..., Any], job: tuple[Any, ...]) -> None:
    _end_with_parent()
    notes = ""
    try:
        result = work(*job)
    except Exception as error:
        import traceback

        result, notes = _picklable(error), traceback.format_exc()
    sender.send((result, notes))


def _picklable(error: Exception) -> Exception:
    """The error, or a RuntimeError with its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # its class may raise anything when it is unpickled
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """End this process when its parent ends; a run can resume from its checkpoint."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    """Start processes that ignore Ctrl-C from the start; the parent handles it and kills them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # It starts with the first process, and unblocks Ctrl-C as it does.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
