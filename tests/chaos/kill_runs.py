"""Kill runs with ``kill -9``, resume them, and compare them with runs that were never stopped, bit for bit.

    python tests/chaos/kill_runs.py --times 100 --seed 0

Runs are tiny, of both tasks, with everything that has a memory. Every third one is killed while a checkpoint is being
written, the others at random moments, some of them several times in a row. Processes are forked from one that has
imported everything, so that a run takes about a second.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from tiny_runs import checkpoint_content, full, stats, tiny, write_domains

from progcycle.engine import pretraining, reports
from progcycle.engine.checkpoint import checkpoints
from progcycle.engine.samples import Sampler
from progcycle.export import save_snapshot
from progcycle.recipe import Recipe, merge

OFTEN: dict[str, Any] = {
    "training": {"checkpoint_kimg": 0.008, "keep_checkpoints": 99, "evaluation": {"every_kimg": 0.028}}
}
# Pools, noise, adaptive augmentation and n_critic; R1 and identity with a queue of earlier features; pre-training.
QUEUE: dict[str, Any] = {
    "network": {"minibatch_stddev": {"group": "batch", "queue": 6}},
    "pretraining": {"schedule": {"stable_kimg": 0.008, "fade_kimg": 0.008, "batch_size": 4}},
}
LIMIT = 120.0  # seconds that no run takes


def cases(pictures: Path) -> dict[str, Recipe]:
    """The recipes that are run in turn, by name."""
    changes = {
        "pggan": ("pggan", full("pggan", pictures)),
        "cyclegan": ("cyclegan", full("cyclegan", pictures)),
        "cyclegan, queue": ("cyclegan", QUEUE),
    }
    return {name: tiny(task, pictures, merge(more, OFTEN)) for name, (task, more) in changes.items()}


def _evaluate(sample: Sampler, nimg: int) -> dict[str, float]:
    side = sample.growth.resolution
    inputs = {"latents": torch.ones(2, 8), "labels": torch.eye(3)[:2]}
    inputs |= {domain: torch.ones(2, 3, side, side) for domain in "ab"}
    drawn = {"python": random.random(), "numpy": float(np.random.standard_normal()), "torch": float(torch.rand(()))}
    return {"first": sample(inputs)[-1].mean().item(), "nimg": float(nimg), **drawn}


def _touch(_: Any, path: Path) -> None:
    path.touch()


def _seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def start(recipe: Recipe, run_dir: Path) -> int:
    """Train, or go on, in a forked process; its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(run_dir.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for name in ("plot_plan", "plot_curves"):  # they take longer than the training
            setattr(reports, name, _touch)
        _seed(os.getpid() if checkpoints(run_dir / "checkpoints") else 1)  # a checkpoint knows better
        pretraining.train(recipe, run_dir, save_snapshot, _evaluate)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finish(recipe: Recipe, run_dir: Path) -> float:
    """Train, or go on, to the end; the seconds that it took.

    Raises:
        RuntimeError: the run failed, or did not end.
    """
    began, pid = time.perf_counter(), start(recipe, run_dir)
    status = wait(pid, LIMIT)
    if status != 0:
        kill(pid)
        raise RuntimeError(f"ended with {status}; see {run_dir.with_suffix('.log')}")
    return time.perf_counter() - began


def wait(pid: int, seconds: float) -> int | None:
    """The exit status of a process, or None if it still runs after so many seconds."""
    end = time.perf_counter() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if time.perf_counter() >= end:
            return None
        time.sleep(0.001)


def kill(pid: int) -> None:
    """``kill -9``; one that has ended before is no error."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def half_written(run_dir: Path) -> set[tuple[Path, int]]:
    """Checkpoints without a name yet: their folders, which may have had the same path before, and their inodes."""
    found = set()
    for folder in (run_dir / "checkpoints", run_dir / "pretraining" / "checkpoints"):
        for path in folder.glob(".nimg-*.tmp"):
            with contextlib.suppress(FileNotFoundError):  # it has got its name just now
                found.add((path, path.stat().st_ino))
    return found


def kill_at(recipe: Recipe, run_dir: Path, seconds: float) -> bool:
    """Kill a run so many seconds after its start; whether it was still running."""
    pid = start(recipe, run_dir)
    running = wait(pid, seconds) is None
    if running:
        kill(pid)
    return running


def kill_while_writing(recipe: Recipe, run_dir: Path, skip: int, delay: float) -> bool:
    """Kill a run while it writes a checkpoint.

    Args:
        recipe, run_dir: of the run.
        skip: checkpoints that are left in peace.
        delay: seconds to wait once the writing has begun.

    Returns:
        Whether a checkpoint was left half-written; what the run before left does not count.
    """
    old, seen = half_written(run_dir), set[tuple[Path, int]]()
    pid = start(recipe, run_dir)
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        seen |= half_written(run_dir) - old
        if len(seen) > skip:
            time.sleep(delay)
            kill(pid)
            return bool(seen & half_written(run_dir))
    return False


def differences(run_dir: Path, whole: Path) -> list[str]:
    """What a resumed run has other than one that was never stopped, but for plots, times and the lock."""
    ours, theirs = ({p.relative_to(each) for p in each.rglob("*") if p.is_file()} for each in (run_dir, whole))
    found = [f"{path}: only in one of them" for path in sorted(ours ^ theirs)]
    for path in sorted(ours & theirs):
        if path.name == "stats.jsonl":
            same = stats((run_dir / path).parent) == stats((whole / path).parent)
        elif path.name == "state.json":
            one, other = (checkpoint_content((each / path).parent) for each in (run_dir, whole))
            same = one == other
        elif path.name == "config.json":
            one, other = (json.loads((each / path).read_text()) for each in (run_dir, whole))
            same = {**one, "cpu_seconds": 0} == {**other, "cpu_seconds": 0}
        elif path.name in ("lock.json", "curves.png", "plan.png"):
            same = True
        else:
            same = (run_dir / path).read_bytes() == (whole / path).read_bytes()
        if not same:
            found.append(f"{path}: differs")
    return found


@dataclass
class Tally:
    """What happened so far."""

    kills: int = 0
    writing: int = 0  # runs killed while a checkpoint was being written
    runs: int = 0
    lost: list[str] = field(default_factory=list)


def torment(recipe: Recipe, run_dir: Path, seconds: float, number: int, rng: random.Random, tally: Tally) -> None:
    """Kill one run, once or several times: every third one while it writes, every fourth one three times."""
    if number % 3 == 0:
        for _ in range(40):  # the moment may be missed
            if kill_while_writing(recipe, run_dir, rng.randrange(6), rng.uniform(0, 0.004)):
                tally.kills, tally.writing = tally.kills + 1, tally.writing + 1
                return
            if (run_dir / "snapshots").exists():  # missed to the end: once more from the beginning
                shutil.rmtree(run_dir)
        raise RuntimeError("no checkpoint could be caught while it was being written")
    for _ in range(3 if number % 4 == 1 else 1):
        tally.kills += kill_at(recipe, run_dir, rng.uniform(0, seconds))


def play(folder: Path, times: int, seed: int, say: Any = print) -> Tally:
    """Kill and resume so many runs below a folder; what is equal is deleted.

    Args:
        folder: new or empty.
        times: runs.
        seed: of the moments.
        say: told of what is lost.
    """
    torch.set_num_threads(1)
    pictures, rng, tally = write_domains(folder / "pictures"), random.Random(seed), Tally()
    recipes, seconds = cases(pictures), dict[str, float]()
    for i, (name, recipe) in enumerate(recipes.items()):
        seconds[name] = finish(recipe, folder / f"whole-{i}")
    for number in range(times):
        i = number % len(recipes) if number % 3 else (number // 3) % len(recipes)
        name, recipe = list(recipes.items())[i]
        run_dir = folder / f"run-{number:03}"
        try:
            torment(recipe, run_dir, seconds[name], number, rng, tally)
            finish(recipe, run_dir)
            found = differences(run_dir, folder / f"whole-{i}")
        except RuntimeError as error:
            found = [str(error)]
        tally.runs += 1
        if found:
            tally.lost.append(f"{run_dir} ({name}): {'; '.join(found[:5])}")
            say(f"LOST {tally.lost[-1]}")
        else:
            shutil.rmtree(run_dir)
            run_dir.with_suffix(".log").unlink()
    return tally


def main(argv: Sequence[str] | None = None) -> int:
    """Play, and tell what came of it."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--times", type=int, default=100, metavar="N", help="runs (default 100)")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments")
    p.add_argument("--folder", type=Path, help="where to run; default: a temporary folder, kept if something was lost")
    args = p.parse_args(argv)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="progcycle-chaos-"))
    began = time.perf_counter()
    tally = play(folder, args.times, args.seed)
    print(
        f"{tally.runs - len(tally.lost)} of {tally.runs} runs equal those that were never stopped; "
        f"{tally.kills} kills, {tally.writing} of them while a checkpoint was being written; "
        f"{time.perf_counter() - began:.0f} s"
    )
    if tally.lost:
        print(f"see {folder}")
        return 1
    if args.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
