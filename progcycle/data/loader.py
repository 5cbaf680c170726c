"""Batches for every step of the schedule, the same for any number of workers and processes."""

import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from progcycle.data.batch import Batch, collate
from progcycle.data.pictures import PictureSet
from progcycle.errors import UserError
from progcycle.schedule import Growth, GrowthSchedule

Key = tuple[int, int]  # global position, resolution
PREFETCH = 2  # batches that each worker prepares ahead


class _Positions:
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

    def __getitems__(self, keys: Sequence[Key]) -> dict[str, Batch] | UserError:
        """One batch a domain. An error is returned, since a worker would raise it with its whole traceback as text."""
        try:
            return {
                domain: collate([pictures.training(position, resolution) for position, resolution in keys])
                for domain, pictures in self.sets.items()
            }
        except UserError as error:
            return error


def _as_it_is(batches: Any) -> Any:
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

    Yields:
        Pictures shown before the step, its growth, and a uint8 batch for each domain.

    Raises:
        UserError: too many pictures are broken, or one has more than 8 bits.
    """
    loader: DataLoader[Any] = DataLoader(
        _Domains(sets),
        batch_sampler=_Positions(schedule, start_nimg, rank, processes, shift),
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # its workers' seed would be drawn from torch's stream, which a resume must find
    )
    named: dict[str, dict[str, None]] = {domain: {} for domain in sets}
    batches = iter(loader)
    try:
        for (nimg, growth), loaded in zip(schedule.steps(start_nimg), batches, strict=True):
            if isinstance(loaded, UserError):
                raise loaded
            yield nimg, growth, {d: _name_once(batch, named[d], sets[d]) for d, batch in loaded.items()}
    finally:
        if workers:
            batches._shutdown_workers()  # type: ignore[attr-defined]  # not left to the garbage collector
            for worker in batches._workers:  # type: ignore[attr-defined]
                worker.kill()  # one that hangs, on a lost mount perhaps; torch asks it by SIGTERM only
                worker.join()


def _name_once(batch: Batch, named: dict[str, None], pictures: PictureSet) -> Batch:
    """Leave out the broken pictures that an earlier batch has named, and stop when they become too many."""
    if not batch.broken:
        return batch
    fresh = tuple(sentence for sentence in batch.broken if sentence not in named)
    named.update(dict.fromkeys(fresh))
    pictures.check_broken(list(named))
    return replace(batch, broken=fresh)
