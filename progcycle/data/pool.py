"""Work in several processes, which end with the one that started them, however it ends."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from progcycle.errors import UserError

Result = TypeVar("Result")
POLL_SECONDS = 1.0  # between two looks at whether the first process still runs


def in_processes(
    work: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], processes: int
) -> Iterator[tuple[int, Result]]:
    """Results as they become ready, each with the place of its job.

    Args:
        work: a function of a module.
        jobs: its arguments.
        processes: how many run at a time; 1 works in this one.

    Raises:
        UserError: a process was killed.
        Exception: what a job raises; jobs that have not begun are dropped.
    """
    if processes == 1 or len(jobs) < 2:
        yield from ((i, work(*job)) for i, job in enumerate(jobs))
        return
    # A forked process starts at once and has all modules; elsewhere each imports them anew.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    pool = ProcessPoolExecutor(
        min(processes, len(jobs)), multiprocessing.get_context(method), _end_with, (os.getpid(),)
    )
    running: dict[Future[Result], int] = {}
    waiting = iter(enumerate(jobs))
    try:
        while True:
            while len(running) < 2 * processes and (job := next(waiting, None)) is not None:
                running[pool.submit(work, *job[1])] = job[0]
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done), done.result()
    except BrokenProcessPool:
        raise UserError(
            "A process was killed, perhaps for want of memory; start the same command again to go on, with fewer "
            "--workers if need be."
        ) from None
    finally:
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with(parent: int) -> None:
    """In a process of the pool: leave Ctrl-C to the first process, and end when that has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
