"""Train both tasks side by side in their last stage, and watch memory, open files and speed.

    python tests/chaos/soak.py --minutes 25 --out soak

One process and one thread each, on the bundled pictures, with status lines, samples, evaluation, snapshots and
checkpoints at a brisk rate. It needs Linux's /proc. In the second half resident memory must grow by less than 2 %, the
number of open files must stay, and so must the pictures for each second of processor time (to 10 %: the processor is
shared). ``soak.json`` and ``soak.png`` hold the course.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import numpy as np

ROOT = Path(__file__).parents[2]
EVERY = 2.0  # seconds between two looks
LAST_STAGE = (
    "schedule.start_resolution=32", "schedule.stable_kimg.32=100000", "training.precision=no",
    "training.status_kimg=0.1", "training.sample_kimg=0.5", "training.checkpoint_kimg=1", "training.snapshot_kimg=2",
    "training.evaluation.every_kimg=2",
)  # fmt: skip
RUNS = {
    "pggan": ("pggan_emoji", "training.evaluation.count=256"),
    "cyclegan": ("cyclegan_openmoji", "data.validation=0.05", "training.evaluation.count=64"),
}
MEMORY, SPEED = 0.02, 0.1
FEW = 8  # status lines
Course = dict[str, list[float]]


def start(task: str, out: Path) -> subprocess.Popen[bytes]:
    """Begin a run with one thread."""
    recipe, *own = RUNS[task]
    command = [sys.executable, "-m", "progcycle.train", f"recipes/{recipe}.yaml", "--run-dir", str(out / task)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    log = (out / f"{task}.log").open("wb")
    return subprocess.Popen([*command, *LAST_STAGE, *own], cwd=ROOT, env=environment, stdout=log, stderr=log)


def look(pid: int) -> tuple[float, int]:
    """Resident memory of a process in MB, and its open files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return resident / 1000, len(os.listdir(f"/proc/{pid}/fd"))


def watch(processes: dict[str, subprocess.Popen[bytes]], seconds: float) -> dict[str, Course]:
    """Look at processes for so long.

    Raises:
        RuntimeError: one of them has ended.
    """
    began = time.monotonic()
    courses: dict[str, Course] = {task: {"seconds": [], "memory": [], "files": []} for task in processes}
    while (now := time.monotonic() - began) < seconds:
        for task, process in processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{task} has ended with {process.returncode}")
            memory, files = look(process.pid)
            for name, value in (("seconds", now), ("memory", memory), ("files", files)):
                courses[task][name].append(value)
        time.sleep(EVERY)
    return courses


def speeds(run_dir: Path) -> Course:
    """Pictures for each second, and for each second of processor time, between status lines."""
    lines = [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "images_per_s" in line]
    found: Course = {"nimg": [], "wall": [], "cpu": []}
    for before, line in itertools.pairwise(lines):
        found["nimg"].append(line["nimg"])
        found["wall"].append(line["images_per_s"])
        found["cpu"].append((line["nimg"] - before["nimg"]) / (line["cpu_seconds"] - before["cpu_seconds"]))
    return found


def growth(course: Sequence[float]) -> float:
    """By what share a straight line through the second half of a course rises over that half."""
    half = np.asarray(course[len(course) // 2 :])
    slope, height = np.polyfit(np.linspace(0, 1, len(half)), half, 1)
    return float(slope / height)


def quarters(course: Sequence[float]) -> tuple[float, float]:
    """Medians of the third and of the last quarter of a course."""
    n = len(course)
    return median(course[n // 2 : n * 3 // 4]), median(course[n * 3 // 4 :])


def judge(course: Course, speed: Course) -> dict[str, Any]:
    """Figures of one run, and whether they are as they should be."""
    if len(speed["cpu"]) < FEW:
        raise SystemExit(f"only {len(speed['cpu'])} status lines; that is too short to judge, give more --minutes")
    memory, files, pace = growth(course["memory"]), quarters(course["files"]), quarters(speed["cpu"])
    change = pace[1] / pace[0] - 1
    return {
        "pictures": speed["nimg"][-1],
        "memory_mb": quarters(course["memory"]),
        "memory_growth": memory,
        "files": files,
        "pictures_per_cpu_second": pace,
        "speed_change": change,
        "good": memory < MEMORY and files[0] == files[1] and abs(change) < SPEED,
    }


def plot(courses: dict[str, Course], paces: dict[str, Course], path: Path) -> None:
    """Memory, open files and speed of both runs."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for task, course in courses.items():
        minutes = np.asarray(course["seconds"]) / 60
        axes[0].plot(minutes, course["memory"], label=task)
        axes[1].plot(minutes, course["files"], label=task)
        axes[2].plot(np.asarray(paces[task]["nimg"]) / 1000, paces[task]["cpu"], label=task)
    titles = ("resident memory, MB", "open files", "pictures for each CPU second")
    for axis, title, below in zip(axes, titles, ("minutes", "minutes", "kimg"), strict=True):
        axis.set(title=title, xlabel=below, ylim=(0, None))
        axis.grid(color="0.9")
        axis.legend()
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, watch, judge."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=25.0, metavar="N", help="how long (default 25)")
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the runs, the figures and the plot")
    args = p.parse_args(argv)
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    processes = {task: start(task, out) for task in RUNS}
    try:
        while not all((out / task / "stats.jsonl").exists() for task in RUNS):  # caches are being built
            watch(processes, EVERY)
        courses = watch(processes, 60 * args.minutes)
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        codes = {task: process.wait() for task, process in processes.items()}
    paces = {task: speeds(out / task) for task in RUNS}
    found = {task: judge(courses[task], paces[task]) for task in RUNS}
    (out / "soak.json").write_text(json.dumps({"result": found, "course": courses, "speed": paces}, indent=1) + "\n")
    plot(courses, paces, out / "soak.png")
    for task, figures in found.items():
        (m0, m1), (f0, f1), (s0, s1) = (figures[k] for k in ("memory_mb", "files", "pictures_per_cpu_second"))
        print(
            f"{task:9} {figures['pictures']} pictures; second half: memory {m0:.0f} -> {m1:.0f} MB "
            f"({figures['memory_growth']:+.2%} by a straight line), open files {f0:g} -> {f1:g}, "
            f"{s0:.2f} -> {s1:.2f} pictures for each CPU second ({figures['speed_change']:+.1%}); "
            f"{'good' if figures['good'] else 'NOT GOOD'}; left with {codes[task]}"
        )
    return 0 if all(figures["good"] for figures in found.values()) and set(codes.values()) == {143} else 1


if __name__ == "__main__":
    sys.exit(main())
