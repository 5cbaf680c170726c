"""Pictures a second of ``progcycle prepare``, and whether it loses anything when it is killed.

python benchmarks/prepare.py                             # 2,000 PNGs of 1024 px: some 4 GB, and twice that in stores
python benchmarks/prepare.py --pictures 60 --side 256    # a minute
python benchmarks/prepare.py --kills 5                   # also prepare again, killed by SIGKILL that often

The store of the killed attempts must be the one that was made at once, byte for byte, and none of its work may be done
twice but for what a process had in hand.
"""

import argparse
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np


def write(folder: Path, count: int, side: int) -> int:
    """Write pictures of smooth shapes with a little noise, which compress as photographs do; return their bytes."""
    folder.mkdir()
    noise = np.random.default_rng(count).normal(0, 4, (side, side, 3)).astype(np.float32)
    for i in range(count):
        rng = np.random.default_rng(i)
        shapes = cv2.resize(
            rng.integers(0, 256, (16, 16, 3)).astype(np.float32), (side, side), None, 0, 0, cv2.INTER_CUBIC
        )
        pixels = (shapes + np.roll(noise, rng.integers(0, side, 2), (0, 1))).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:05}.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return sum(file.stat().st_size for file in folder.iterdir())


def start(source: Path, store: Path, args: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Begin to prepare, in a process group of its own."""
    code = "import sys; from progcycle.commands.cli import main; sys.exit(main())"
    words = [
        "prepare",
        source,
        store,
        "--resolution",
        args.side,
        "--budget-gb",
        args.budget_gb,
        "--workers",
        args.workers,
    ]
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def content(folder: Path) -> dict[str, str]:
    """A hash of every file."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with open(file, "rb") as stream:
                found[str(file.relative_to(folder))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def main() -> int:
    """Measure, and print a line for each attempt."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pictures", type=int, default=2000)
    p.add_argument("--side", type=int, default=1024, help="pixels of a side (1024)")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one for each core)")
    p.add_argument("--budget-gb", type=float, default=8.0)
    p.add_argument("--kills", type=int, default=0, help="attempts that are killed before the last one")
    p.add_argument("--folder", type=Path, help="where to work (default: the system's folder for temporary files)")
    args = p.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        size = write(folder / "in", args.pictures, args.side)
        print(f"{args.pictures:,} PNGs of {args.side} px, {size / 1e6:,.0f} MB, {args.workers} processes", flush=True)
        began = time.perf_counter()
        if start(folder / "in", folder / "store", args).wait():
            return 1
        seconds = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        each = 1000 * (used.ru_utime + used.ru_stime) / args.pictures
        print(
            f"prepared in {seconds:.1f} s: {args.pictures / seconds:.1f} pictures/s, {each:.0f} ms of CPU time each",
            flush=True,
        )
        if not args.kills:
            return 0
        wanted = content(folder / "store")
        shutil.rmtree(folder / "store")
        spent = 0.0
        for attempt in range(args.kills):
            process, began = start(folder / "in", folder / "store", args), time.perf_counter()
            try:
                process.wait(seconds * (attempt + 1) / (args.kills + 1))
                break  # it was quicker than the one that was not killed
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)  # the first process alone: the others must notice
            process.wait()
            spent += time.perf_counter() - began
            done = len(list((folder / ".store.partial").rglob("*.json*")))
            print(f"killed after {time.perf_counter() - began:.1f} s, {done} notes of finished work", flush=True)
        began = time.perf_counter()
        if not (folder / "store").is_dir() and start(folder / "in", folder / "store", args).wait():
            return 1
        last = time.perf_counter() - began
        same = content(folder / "store") == wanted
        end = "the same" if same else "ANOTHER"
        print(f"the last attempt took {last:.1f} s, all together {spent + last:.1f} s; the store is {end}")
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
