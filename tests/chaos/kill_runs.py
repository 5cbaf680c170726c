"""Kill runs without warning, again and again, and compare each in the end with one that nobody killed, bit for bit.

``python tests/chaos/kill_runs.py --times 100 --seed 0`` trains tiny runs of both tasks in processes of their own, which
it forks, so that a start takes milliseconds. At least a third of all kills fall into the writing of a checkpoint: they
count only if its temporary folder is still there after death. Exit code 1 if any run differs; its folder is kept.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script, where pytest does not
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations  # noqa: F401  # what a training imports late, it finds here: every process is a fork of this one
import kornia  # noqa: F401
import numpy as np
import torch
from safetensors import safe_open
from tiny_runs import TASKS, checkpoint_content, full, leave_out_plots, stats, tiny, write_domains

from progcycle.engine import precision
from progcycle.engine import run as run_module
from progcycle.engine import train as train_module
from progcycle.engine.run import Run
from progcycle.engine.train import train
from progcycle.evaluation.sampler import Sampler
from progcycle.output import console
from progcycle.recipe import Recipe, merge
from progcycle.tasks.cyclegan import CycleganTask

ALL = [(task, variant) for variant in ("full", "queue", "fp16") for task in TASKS]
MOST = 12  # kills of one run
POLL = 0.0002  # seconds between two looks for the temporary folder
OFTEN = {"training": {"checkpoint_kimg": 0.012, "status_kimg": 0.02, "snapshot_kimg": 0.02, "sample_kimg": 0.02}}
EVALUATED = {"training": {"evaluation": {"every_kimg": 0.012}}}
# Parts of a checkpoint by what they remember, of which every recipe has some and all together have all.
MEMORIES = {
    "pools": "pool",
    "queues of features": "queue",
    "controller of noise": "noise",
    "controller of augmentation": "augment",
    "random streams": "rng",
    "running figures": "meter",
}


@dataclass(frozen=True)
class Kill:
    """A process that was killed: after how many seconds, and which files of an unfinished checkpoint it left."""

    seconds: float
    left: tuple[str, ...] | None
    done: int  # checkpoints that were whole

    @property
    def writing(self) -> bool:
        """Whether a checkpoint was being written."""
        return self.left is not None


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed: its folder, how long it took, and how long its checkpoints took to write."""

    recipe: Recipe
    run: Path
    seconds: float
    writing: float


@dataclass
class Outcome:
    """What became of one run that was killed."""

    name: str
    folder: Path
    kills: list[Kill] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


# --- what is trained --------------------------------------------------------------------------------------------------


def recipe_of(task: str, variant: str, pictures: Path) -> Recipe:
    """A tiny recipe; the variants share out what excludes each other among all that has a memory."""
    everything = merge(merge(full(task, pictures), EVALUATED), OFTEN)
    if variant == "full":
        return tiny(task, pictures, merge(everything, {"training": {"permanent_kimg": 0.03}}))
    if variant == "fp16":
        return tiny(task, pictures, merge(everything, {"training": {"precision": "fp16"}}))
    changes: dict[Any, Any] = {
        "network": {"discriminator": {"minibatch_stddev": {"group": "batch", "queue": 6}}},
        "optimizer": {"reset": "fade_edges"},
        "data": {"workers": 1},
    }
    if task == "cyclegan":
        changes["pretraining"] = {"share": 0.5}
    return tiny(task, pictures, merge(merge(changes, EVALUATED), OFTEN))


def measure(sample: Sampler, nimg: int) -> dict[str, float]:
    """Figures of a few pictures, for evaluations and the folder ``best``; they take no time."""
    side = sample.growth.resolution
    picture = torch.linspace(-1, 1, 2 * 3 * side * side).reshape(2, 3, side, side)
    labels = {"labels": torch.eye(3)[:2]} if sample.task.classes else {}
    latents = {"latents": torch.ones(2, 8)}
    if isinstance(sample.task, CycleganTask) and (size := sample.task.latents.size("ab")):
        latents["latents_ab_0"] = torch.ones(2, size)
    made = sample({**latents, "a": picture, "b": picture, **labels})[-1]
    return {"swd": made.std().item(), "kid": made.std().item()}


def child(recipe: Recipe, run: Path, output_name: str) -> None:
    """Train, or go on, and end the process; nothing of the parent's is touched."""
    code = 1
    try:
        output = os.open(run.parent / output_name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = open(output, "a", buffering=1, closefd=False)  # noqa: SIM115
        torch.set_num_threads(1)
        precision.has_fp16 = lambda _: True  # slow on a CPU, but right
        leave_out_plots()
        _draw_at_every_step()
        begun = [*run.glob("checkpoints/nimg-*"), *run.glob("pretraining/checkpoints/nimg-*")]
        _seed(99 if begun else 1)  # whatever a new process's streams are, a checkpoint brings back its own
        if recipe.training.evaluation:
            run_module.evaluator = train_module.evaluator = lambda *_: measure  # type: ignore[assignment]
        with console():
            train(recipe, run)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _draw_at_every_step() -> None:
    """Use the process's random streams, as an extension might, so that it matters where they stand."""
    step = Run.train_step

    def train_step(training: Run, *arguments: Any) -> None:
        random.random(), np.random.standard_normal(), torch.rand(())
        step(training, *arguments)

    Run.train_step = train_step  # type: ignore[method-assign]


# --- starting and killing ---------------------------------------------------------------------------------------------


def start(recipe: Recipe, run: Path, output_name: str = "output.txt") -> int:
    """Begin, or go on, in a process of its own, which prints into a file beside the run folder; its number."""
    run.parent.mkdir(parents=True, exist_ok=True)
    process = os.fork()
    if process == 0:
        child(recipe, run, output_name)
    return process


def ended(process: int, wait: bool = False) -> int | None:
    """Exit code of a process, or the negative number of the signal that ended it; None while it runs."""
    found, status = os.waitpid(process, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def unfinished(run: Path) -> Path | None:
    """The temporary folder of the checkpoint that is being written, if one is."""
    found = [*run.glob("checkpoints/.nimg-*.tmp"), *run.glob("pretraining/checkpoints/.nimg-*.tmp")]
    return found[0] if found else None


def kill(process: int, run: Path, begun: float) -> Kill:
    """Kill a process that has not ended yet with SIGKILL, and look at what it leaves."""
    seconds = time.perf_counter() - begun
    os.kill(process, signal.SIGKILL)
    ended(process, wait=True)
    folder = unfinished(run)
    left = None if folder is None else tuple(sorted(path.name for path in folder.iterdir()))
    return Kill(seconds, left, len([*run.glob("checkpoints/nimg-*"), *run.glob("pretraining/checkpoints/nimg-*")]))


def broken_off(recipe: Recipe, run: Path, moment: float, checkpoint: int | None) -> Kill | None:
    """Start, or go on, and kill; None if the run came to its end before.

    Args:
        recipe: what is trained.
        run: the run folder.
        moment: seconds; since the start, or since a temporary folder appeared.
        checkpoint: how many temporary folders appear until then; None for a moment that knows nothing of them.
    """
    begun = since = time.perf_counter()
    before, waiting = unfinished(run), checkpoint or 0
    process = start(recipe, run)
    while (code := ended(process)) is None:
        if waiting:
            folder = unfinished(run)
            if folder not in (None, before):
                waiting, since = waiting - 1, time.perf_counter()
            before = folder
        elif time.perf_counter() - since >= moment:
            return kill(process, run, begun)
        time.sleep(POLL)
    if code != 0:
        raise RuntimeError(f"the run in {run} ended with {code}, see {run.parent / 'output.txt'}")
    return None


def uninterrupted(recipe: Recipe, run: Path) -> Whole:
    """Train without a kill, and watch how long checkpoints take to write.

    Raises:
        RuntimeError: the run failed by itself.
    """
    begun, present, times = time.perf_counter(), dict[Path, float](), list[float]()
    process = start(recipe, run)
    while (code := ended(process)) is None:
        now, folder = time.perf_counter(), unfinished(run)
        times += [now - present.pop(path) for path in [*present] if path != folder]
        if folder is not None:
            present.setdefault(folder, now)
        time.sleep(POLL)
    if code != 0:
        raise RuntimeError(f"the run in {run} ended with {code}, see {run.parent / 'output.txt'}")
    return Whole(recipe, run, time.perf_counter() - begun, float(np.median(times)) if times else 0.005)


def broken_run(name: str, whole: Whole, folder: Path, rng: np.random.Generator, aimed: bool) -> Outcome:
    """Kill a run once or more at random moments, let it come to its end, and compare.

    Args:
        name: of the recipe.
        whole: the same run, uninterrupted.
        folder: where to; ``run`` in it is the run folder.
        rng: chooses the moments.
        aimed: whether to go on until one kill has fallen into the writing of a checkpoint.
    """
    outcome, run = Outcome(name, folder), folder / "run"
    wanted = int(rng.choice([1, 1, 1, 2, 3]))
    while True:
        hit = any(kill.writing for kill in outcome.kills)
        if len(outcome.kills) >= (MOST if aimed and not hit else wanted):
            break
        moment = rng.uniform(0, 0.9 * whole.writing) if aimed else rng.uniform(0, whole.seconds)
        killed = broken_off(whole.recipe, run, moment, int(rng.integers(1, 7)) if aimed else None)
        if killed is not None:
            outcome.kills.append(killed)
        elif outcome.kills and (hit or not aimed):
            break
        else:  # it was too fast: once more from the beginning
            shutil.rmtree(folder)
            outcome.kills.clear()
    code = ended(start(whole.recipe, run), wait=True)
    outcome.differences = differences(run, whole.run) if code == 0 else [f"resuming ended with {code}"]
    return outcome


# --- comparing --------------------------------------------------------------------------------------------------------


def content(run: Path) -> dict[str, Any]:
    """Everything in a run folder by file, without what depends on the clock."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.name.startswith("nimg-") and path.parent.name == "checkpoints":
            found |= {f"{name}/{file}": value for file, value in checkpoint_content(path).items()}
        elif path.parent.parent.name == "checkpoints" and path.parent.name.startswith("nimg-"):
            continue
        elif path.is_dir():
            found[name] = None
        elif path.name == "stats.jsonl":
            found[name] = stats(path.parent)
        elif path.name == "index.html":  # tells the time and how fast it went
            found[name] = None
        elif path.name == "config.json":  # of a snapshot
            found[name] = {key: value for key, value in json.loads(path.read_text()).items() if key != "cpu_seconds"}
        else:
            found[name] = path.read_bytes()
    return found


def differences(run: Path, whole: Path) -> list[str]:
    """In what a run folder differs from another; nothing, if the run went on as if nothing had happened."""
    ours, theirs = content(run), content(whole)
    missing = [f"{name} is missing" for name in theirs if name not in ours]
    added = [f"{name} should not be there" for name in ours if name not in theirs]
    return [*missing, *added, *(f"{name} differs" for name in theirs if name in ours and ours[name] != theirs[name])]


def remembered(runs: Iterable[Path]) -> set[str]:
    """Which of ``MEMORIES`` the checkpoints of some runs hold."""
    keys: list[str] = []
    for run in runs:
        for path in run.glob("checkpoints/nimg-*/rank-0.safetensors"):
            with safe_open(path, "pt") as file:
                keys += file.keys()
    return {name for name, part in MEMORIES.items() if any(part in key for key in keys)}


# --- many -------------------------------------------------------------------------------------------------------------


def one(wholes: dict[str, Whole], folder: Path, seed: int, place: tuple[int, bool]) -> Outcome:
    """The run of a number, out of the recipes in turn; its folder is removed if all is well."""
    number, aimed = place
    name = [*wholes][number % len(wholes)]
    own = folder / f"run-{number:04}"
    outcome = broken_run(name, wholes[name], own, np.random.default_rng([seed, number]), aimed)
    if not outcome.differences:
        shutil.rmtree(own)
    return outcome


def prepared(folder: Path, kinds: Sequence[tuple[str, str]] = ALL) -> dict[str, Whole]:
    """The uninterrupted runs of tasks and variants, by name."""
    pictures = write_domains(folder / "pictures")
    return {
        f"{task}, {variant}": uninterrupted(recipe_of(task, variant, pictures), folder / f"{task}-{variant}" / "run")
        for task, variant in kinds
    }


def summary(outcomes: Sequence[Outcome]) -> str:
    """What happened, as text."""
    lines = [f"{'recipe':24}{'runs':>6}{'kills':>7}{'in writing':>12}{'in a row':>10}{'equal':>7}"]
    for name in dict.fromkeys(outcome.name for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.name == name]
        kills = [kill for outcome in own for kill in outcome.kills]
        row = sum(len(outcome.kills) > 1 for outcome in own)
        equal = sum(not outcome.differences for outcome in own)
        lines.append(f"{name:24}{len(own):6}{len(kills):7}{sum(k.writing for k in kills):12}{row:10}{equal:7}")
    kills = [kill for outcome in outcomes for kill in outcome.kills]
    left = Counter(len(kill.left) for kill in kills if kill.left is not None)
    files = ", ".join(f"{count} with {number}" for number, count in sorted(left.items()))
    equal = sum(not outcome.differences for outcome in outcomes)
    lines += [
        "",
        f"{equal} of {len(outcomes)} runs equal to the uninterrupted one, to the bit; {len(kills)} kills, "
        f"{sum(kill.writing for kill in kills)} of them while a checkpoint was being written (files there at death: "
        f"{files or 'none'}), {sum(kill.done == 0 for kill in kills)} before the first checkpoint; "
        f"{sum(len(outcome.kills) > 1 for outcome in outcomes)} runs were killed several times in a row, at most "
        f"{max(len(outcome.kills) for outcome in outcomes)} times",
    ]
    for outcome in outcomes:
        if outcome.differences:
            lines.append(f"{outcome.folder} ({outcome.name}): {'; '.join(outcome.differences[:5])}")
    return "\n".join(lines)


def missed(outcomes: Sequence[Outcome]) -> bool:
    """Whether fewer than a third of the kills fell into the writing of a checkpoint."""
    kills = [kill for outcome in outcomes for kill in outcome.kills]
    return 3 * sum(kill.writing for kill in kills) < len(kills)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=100, help="runs that are killed; default 100")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default 0")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; default 1")
    parser.add_argument("--folder", type=Path, help="where the runs go; default: a new temporary folder")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    begun = time.perf_counter()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="kill-runs-"))
    wholes = prepared(folder)
    for name, whole in wholes.items():
        print(f"{name}: {whole.seconds:.1f} s; a checkpoint takes {1000 * whole.writing:.0f} ms to write", flush=True)
    if forgotten := MEMORIES.keys() - remembered(whole.run for whole in wholes.values()):
        print(f"the recipes leave out: {', '.join(sorted(forgotten))}")
        return 1
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("fork")) as pool:
        # Two of five are aimed; then more, if need be, until a third of the kills has hit.
        work = [(number, number % 5 < 2) for number in range(args.times)]
        while work:
            for outcome in pool.map(partial(one, wholes, folder, args.seed), work):
                outcomes.append(outcome)
                if outcome.differences or len(outcomes) % 10 == 0:
                    print(f"{len(outcomes)} runs, {time.perf_counter() - begun:.0f} s", flush=True)
            number = len(outcomes)
            work = [(number + i, True) for i in range(args.jobs)] if missed(outcomes) else []
    print(f"\n{summary(outcomes)}\n{time.perf_counter() - begun:.0f} s")
    if any(outcome.differences for outcome in outcomes):
        return 1
    if args.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    with console():
        sys.exit(main())
