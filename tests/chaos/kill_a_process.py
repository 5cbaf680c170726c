"""Kill one of two processes of a run with ``kill -9``: the other must end, say why, and the run go on bit for bit.

    python tests/chaos/kill_a_process.py --times 5 --seed 0

The second process and the first are killed in turn, at random moments of training, from when the run folder is theirs.
Runs are those of kill_runs.py, with a worker for the loader. A table tells what came of each.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from kill_runs import differences, ended, recipe_of, start
from pairs import environments, is_gone
from tiny_runs import TASKS, write_domains

from progcycle.output import console
from progcycle.recipe import Recipe

MINUTE = 60.0  # seconds that the other process may take to end
LIMIT = 120.0  # seconds that no run takes


@dataclass(frozen=True)
class Death:
    """What came of one killed process.

    Attributes:
        moment: seconds after the run folder was taken.
        rank: who was killed.
        other: seconds until the other one had ended; None if it did not.
        seconds: until no process was there any more, nor a worker of theirs; None if one stayed.
        said: what the other one printed.
        wrong: what is not as it should be; empty if all is well.
    """

    moment: float
    rank: int
    other: float | None
    seconds: float | None
    said: str
    wrong: tuple[str, ...]


def wait(pid: int, seconds: float) -> int | None:
    """Exit code of a process, as of :func:`ended`; None if it still runs after so many seconds."""
    end = time.perf_counter() + seconds
    while (code := ended(pid)) is None and time.perf_counter() < end:
        time.sleep(0.001)
    return code


def output(run_dir: Path, rank: int) -> Path:
    """What a process and its workers print."""
    return run_dir.parent / f"output-{rank}.txt"


def start_two(recipe: Recipe, run_dir: Path) -> list[int]:
    """Train, or go on, in two forked processes, each in a group of its own; their numbers."""
    pids = []
    for rank, own in enumerate(environments()):
        os.environ.update(own)
        pids.append(start(recipe, run_dir, output(run_dir, rank).name))
        os.setpgid(pids[-1], pids[-1])
    return pids


def end_all(pids: Sequence[int]) -> None:
    """Kill what is left of some groups."""
    for pid in pids:
        if not is_gone(pid):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def until_taken(run_dir: Path) -> None:
    """Wait until a run has taken its folder."""
    end = time.perf_counter() + LIMIT
    while not (run_dir / "lock.json").exists():
        if time.perf_counter() >= end:
            raise RuntimeError(f"did not begin; see {output(run_dir, 0)}")
        time.sleep(0.001)


def finish_two(recipe: Recipe, run_dir: Path) -> float:
    """Train, or go on, to the end; the seconds since the run folder was taken.

    Raises:
        RuntimeError: the run failed, or did not end.
    """
    pids = start_two(recipe, run_dir)
    try:
        until_taken(run_dir)
        began = time.perf_counter()
        status = [wait(pid, LIMIT) for pid in pids]
        if status != [0, 0]:
            raise RuntimeError(f"ended with {status}; see {output(run_dir, 0)}")
        return time.perf_counter() - began
    finally:
        end_all(pids)


def kill_one(recipe: Recipe, run_dir: Path, whole: Path, rank: int, moment: float) -> Death | None:
    """Begin a run, and kill one of its processes; None if training was over before, and all of it is there."""
    pids = start_two(recipe, run_dir)
    host = socket.gethostname()
    try:
        until_taken(run_dir)
        other = pids[1 - rank]
        if wait(other, moment) is not None or wait(pids[rank], 0) is not None:
            return None
        os.kill(pids[rank], signal.SIGKILL)
        killed = time.perf_counter()
        status = wait(other, MINUTE)
        ended = None if status is None else time.perf_counter() - killed
        os.waitpid(pids[rank], 0)
        while not (gone := all(is_gone(pid) for pid in pids)) and time.perf_counter() < killed + MINUTE:
            time.sleep(0.01)
        seconds = time.perf_counter() - killed if gone else None
    finally:
        end_all(pids)
    if status == 0 and not differences(run_dir, whole):
        return None
    text = output(run_dir, 1 - rank).read_text(errors="replace")  # workers of the killed one may complain of its death
    said = next((line for line in text.splitlines() if line.startswith("error: ")), "")
    expected = f"error: process {rank} (host {host}, pid {pids[rank]}) has died; the others stop too. "
    wrong = {
        "a process stayed": seconds is None,
        f"it ended with {status}": status != 1,
        "it did not say why": not said.startswith(expected + "Start the same command again"),
        "a traceback": "Traceback" in text,
    }
    return Death(moment, rank, ended, seconds, said, tuple(words for words, is_so in wrong.items() if is_so))


def play(folder: Path, times: int, seed: int) -> list[Death]:
    """Kill a process of so many runs below a folder; what is as it should be is deleted.

    Args:
        folder: new or empty.
        times: runs.
        seed: of the moments.
    """
    torch.set_num_threads(1)
    pictures, rng, deaths = write_domains(folder / "pictures"), random.Random(seed), list[Death]()
    recipes = {task: recipe_of(task, "queue", pictures) for task in TASKS}  # with a worker for the loader
    seconds = {name: finish_two(recipe, folder / f"whole-{name}" / "run") for name, recipe in recipes.items()}
    while len(deaths) < times:
        number = len(deaths)
        name = list(recipes)[number // 2 % len(recipes)]
        run_dir, whole = folder / f"run-{number:03}" / "run", folder / f"whole-{name}" / "run"
        death = kill_one(recipes[name], run_dir, whole, (number + 1) % 2, rng.uniform(0, seconds[name]))
        if death is not None:
            found = list(death.wrong)
            try:
                finish_two(recipes[name], run_dir)
                found += differences(run_dir, whole)
            except RuntimeError as error:
                found.append(str(error))
            deaths.append(replace(death, wrong=tuple(found)))
        if death is None or not deaths[-1].wrong:
            shutil.rmtree(run_dir.parent)
    return deaths


def table(deaths: Sequence[Death]) -> str:
    """One line for each."""
    lines = ["moment  killed     other gone   all gone  resume            said"]
    for each in deaths:
        other, all_gone = ("never" if t is None else f"{t:.2f} s" for t in (each.other, each.seconds))
        said = re.sub(r"/\S*/(?=run-)", "", each.said)
        verdict = "; ".join(each.wrong[:5]) or "equal to the bit"
        lines.append(f"{each.moment:4.2f} s  process {each.rank}  {other:>10} {all_gone:>10}  {verdict}  {said}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Play, and tell what came of it."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--times", type=int, default=5, metavar="N", help="runs (default 5)")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments")
    p.add_argument("--folder", type=Path, help="where to run; default: a temporary folder, kept if something is wrong")
    args = p.parse_args(argv)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="progcycle-chaos-"))
    deaths = play(folder, args.times, args.seed)
    print(table(deaths))
    if any(each.wrong for each in deaths):
        print(f"see {folder}")
        return 1
    if args.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    with console():
        sys.exit(main())
