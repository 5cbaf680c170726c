"""Batches for every step of the schedule, the same for any number of workers and processes."""

import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from progcycle.data.batch import Batch, collate
from progcycle.data.picture_set import PictureSet
from progcycle.errors import UserError
from progcycle.schedule import Growth, GrowthSchedule

Key = tuple[int, int]  # global position, resolution
PREFETCH = 2  # batches that each worker prepares ahead
POLL_SECONDS = 2  # seconds between checks while a batch is waited for
JOIN_SECONDS = 5.0  # seconds to wait for a worker that was killed; on a lost mount it stays


class LoaderError(UserError):
    """A loader process has died, or pictures cannot be used; the steps that are done are as they should be."""


@dataclass(frozen=True)
class _PlainBatches:
    """Batches as plain arrays, which go through a pipe where shared memory has no room."""

    batches: dict[str, Batch]  # without tensors
    arrays: dict[str, tuple[np.ndarray, np.ndarray | None]]

    def read(self) -> dict[str, Batch]:
        def tensors(images: np.ndarray, labels: np.ndarray | None) -> dict[str, Any]:
            return {"images": torch.from_numpy(images), "labels": None if labels is None else torch.from_numpy(labels)}

        return {domain: replace(batch, **tensors(*self.arrays[domain])) for domain, batch in self.batches.items()}


def _to_shared_memory(batches: dict[str, Batch]) -> dict[str, Batch] | _PlainBatches:
    """Batches in shared memory. An error is noticed here; inside torch the batch would be lost, and the run hang."""
    try:
        for batch in batches.values():
            batch.images.share_memory_()  # type: ignore[no-untyped-call]
            if batch.labels is not None:
                batch.labels.share_memory_()  # type: ignore[no-untyped-call]
        return batches
    except (RuntimeError, OSError):
        arrays = {d: (b.images.numpy(), None if b.labels is None else b.labels.numpy()) for d, b in batches.items()}
        return _PlainBatches({d: replace(b, images=torch.empty(0), labels=None) for d, b in batches.items()}, arrays)


def _no_room(workers: int) -> str:
    try:
        size = f" ({shutil.disk_usage('/dev/shm').total / 1e6:.3g} MB)"
    except OSError:
        size = ""
    return (
        f"shared memory, /dev/shm{size}, has no room for the batches of data.workers={workers}; they go through pipes, "
        "which is slower. In Docker, --shm-size=2g gives it more; data.workers=0 needs none"
    )


class _StepKeys:
    """The keys of this process's part of every step, one list a step."""

    def __init__(self, schedule: GrowthSchedule, start_nimg: int, rank: int, processes: int, shift: int) -> None:
        self.schedule, self.start_nimg, self.rank, self.processes = schedule, start_nimg, rank, processes
        self.shift = shift

    def __iter__(self) -> Iterator[list[Key]]:
        for nimg, growth in self.schedule.steps(self.start_nimg):
            positions = range(self.shift + nimg + self.rank, self.shift + nimg + growth.batch_size, self.processes)
            yield [(position, growth.resolution) for position in positions]


class _Domains(Dataset[Any]):
    """All domains' pictures by key."""

    def __init__(self, sets: Mapping[str, PictureSet]) -> None:
        self.sets = dict(sets)

    def __getitems__(self, keys: Sequence[Key]) -> dict[str, Batch] | _PlainBatches | UserError:
        """One batch a domain. An error is returned, since a worker would raise it with its whole traceback as text."""
        try:
            batches = {
                domain: collate([pictures.training(position, resolution) for position, resolution in keys])
                for domain, pictures in self.sets.items()
            }
        except UserError as error:
            return error
        return batches if get_worker_info() is None else _to_shared_memory(batches)


def _unchanged(batches: Any) -> Any:
    return batches


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C and launchers reach the whole process group. The main process finishes its step, and then ends its workers.
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGUSR2", "SIGXCPU"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def build_loader(
    sets: Mapping[str, PictureSet],
    schedule: GrowthSchedule,
    *,
    rank: int,
    processes: int,
    start_nimg: int,
    workers: int,
    pin_memory: bool,
    shift: int = 0,
    on_wait: Callable[[float], None] = lambda seconds: None,
    report: Callable[[str], None] = lambda sentence: None,
) -> Generator[tuple[int, Growth, dict[str, Batch]], None, None]:
    """This process's batches, one item for each step of ``schedule.steps(start_nimg)``.

    Process ``rank`` of ``processes`` takes the positions nimg + rank, nimg + rank + processes, ... of a step. A broken
    picture is named in one batch only. Closing the generator shuts the workers down.

    Args:
        sets: pictures by domain.
        schedule: the growth plan.
        rank: number of this process.
        processes: how many processes train together; divides every batch size.
        start_nimg: pictures shown before the first step.
        workers: loader processes; 0 loads in this one.
        pin_memory: copy batches to page-locked memory, for a faster way to a GPU.
        shift: added to all positions, for other pictures and all else that is random.
        on_wait: called every two seconds while workers are waited for, with the seconds so far; what it raises ends
            the wait.
        report: called with a sentence for the user, once for each thing.

    Yields:
        Pictures shown before the step, its growth, and a batch for each domain, not yet in [-1, 1].

    Raises:
        UserError: workers cannot be started.
        LoaderError: a worker has died, too many pictures are broken, or one has another depth.
    """
    loader: DataLoader[Any] = DataLoader(
        _Domains(sets),
        batch_sampler=_StepKeys(schedule, start_nimg, rank, processes, shift),
        collate_fn=_unchanged,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory,
        timeout=POLL_SECONDS if workers else 0,
        generator=torch.Generator(),  # its workers' seed would be drawn from torch's stream, which a resume must find
    )
    named: dict[str, dict[str, None]] = {domain: {} for domain in sets}
    try:
        for queue in _queues(workers and workers + 1):
            queue.close()  # torch's own, which it drops with a traceback when there is no room for them
        batches = iter(loader)
    except OSError as error:
        raise UserError(
            f"data.workers={workers}: the loader processes cannot be started ({error.strerror or error}); they need "
            "memory, and room in /dev/shm (in Docker, --shm-size=2g). Set data.workers=0, or fewer."
        ) from None
    cramped = False
    try:
        for (nimg, growth), loaded in zip(schedule.steps(start_nimg), _polled(batches, on_wait), strict=True):
            if isinstance(loaded, UserError):
                raise LoaderError(str(loaded))
            if isinstance(loaded, _PlainBatches):
                if not cramped:
                    report(f"warning: {_no_room(workers)}")
                cramped, loaded = True, loaded.read()
            try:
                loaded = {d: _name_once(batch, named[d], sets[d]) for d, batch in loaded.items()}
            except UserError as error:
                raise LoaderError(str(error)) from None
            yield nimg, growth, loaded
    finally:
        if workers:
            batches._shutdown_workers()  # type: ignore[attr-defined]  # not left to the garbage collector
            for worker in batches._workers:  # type: ignore[attr-defined]
                worker.kill()  # one that hangs; torch asks it by SIGTERM only
                worker.join(JOIN_SECONDS)


def _queues(count: int) -> list["multiprocessing.Queue[None]"]:
    return [multiprocessing.Queue() for _ in range(count)]


def _polled(batches: Iterator[Any], on_wait: Callable[[float], None]) -> Iterator[Any]:
    """``batches``, with a call of ``on_wait`` every few seconds of waiting; torch by itself waits for ever."""
    while True:
        since = time.monotonic()
        while True:
            try:
                item = next(batches)
                break
            except StopIteration:
                return
            except RuntimeError as error:
                if "timed out after" not in str(error):
                    raise dead_worker(error) or error from None
                on_wait(time.monotonic() - since)
            except (ConnectionError, EOFError, FileNotFoundError) as error:
                if "DataLoader worker" in str(error):  # raised in the worker, which has told
                    raise
                raise _died("unexpectedly") from None  # its socket, through which a batch was to come, is gone
        yield item


def dead_worker(error: RuntimeError) -> LoaderError | None:
    """One sentence for what torch raises, anywhere, when a loader process has died; None for other errors."""
    text = " ".join(str(error).split())
    if not text.startswith("DataLoader worker"):
        return None
    return _died(text.partition("killed by signal: ")[2].partition(".")[0] or "unexpectedly")


def _died(how: str) -> LoaderError:
    return LoaderError(
        f"A loader process has died ({how}); it may have had too little memory, or room in /dev/shm (in Docker, "
        "--shm-size=2g). Start the same command again to go on, with a lower data.workers if need be."
    )


def _name_once(batch: Batch, named: dict[str, None], pictures: PictureSet) -> Batch:
    """Leave out the broken pictures that an earlier batch has named, and stop when they become too many."""
    if not batch.broken:
        return batch
    fresh = tuple(sentence for sentence in batch.broken if sentence not in named)
    named.update(dict.fromkeys(fresh))
    pictures.check_broken(list(named))
    return replace(batch, broken=fresh)
