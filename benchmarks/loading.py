"""What decoding and loading take of a training step, stage by stage, with a source of large pictures.

python benchmarks/loading.py                                   # 16 pictures of 1024 px, as PNG and as JPEG
python benchmarks/loading.py --recipe pggan_celebahq --pictures 8 network.generator.channels.max=64

Times of loading are CPU seconds of one process; those of a step are what ``progcycle plan RECIPE --time`` measures,
without what other programs took of the processors. Sources are a folder, read without any cache; the same folder with
the cache that training makes of it before its first step, up to 256 px as by default; and a store whose arrays end at
256 px, as those of 30,000 pictures do with the usual budget. With a loader process (``data.workers=1``) loading happens
beside the steps.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from progcycle.api import plan
from progcycle.commands.cli import main as progcycle
from progcycle.data import PictureSet, collate
from progcycle.recipe import Pictures, Recipe, load_recipe

MOST = 0.05  # share of a step
CACHED = 256  # data.cache_resolution by default


def write(folder: Path, count: int, kind: str, side: int) -> Path:
    """Smooth shapes with a little noise, which compress as photographs do."""
    folder.mkdir(parents=True)
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        pixels = np.clip(np.asarray(coarse) + rng.normal(0, 4, (side, side, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:04}.{kind}", quality=92)
    return folder


def opened(path: Path, side: int, cache: Path | None) -> PictureSet:
    """Pictures as a training reads them, with a cache or without."""
    return PictureSet(
        "real",
        Pictures(mirror=True),
        (str(path),),
        resolution=side,
        seed=0,
        cache_dir=cache,
        cache_resolution=0 if cache is None else CACHED,
    )


def loading(pictures: PictureSet, resolution: int, count: int) -> float:
    """CPU seconds to load a picture, in batches of four."""
    pictures.training(0, resolution)
    began = time.thread_time()
    for first in range(0, count, 4):
        collate([pictures.training(position, resolution) for position in range(first, first + 4)])
    return (time.thread_time() - began) / (-(-count // 4) * 4)


def step_seconds(recipe: Recipe, smallest: int, timed: bool) -> dict[int, float]:
    """Seconds of a picture's part of a step by resolution, without what other programs took; 0 if not timed."""
    if not timed:
        stages = sorted({phase.resolution for phase in plan(recipe).schedule.phases})
        return {resolution: 0.0 for resolution in stages if resolution >= smallest}
    estimate = plan(recipe, timed=True).estimate
    assert estimate is not None
    print(f"a processor's share that was left to the steps: {estimate.share:.0%}", flush=True)
    return {cost.resolution: cost.picture * estimate.share for cost in estimate.stages if cost.resolution >= smallest}


def main() -> int:
    """Measure, and print a table; the exit code says whether every share is below the limit."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--recipe", default="pggan_celebahq", help="of a PG-GAN (pggan_celebahq)")
    p.add_argument("--pictures", type=int, default=16)
    p.add_argument("--side", type=int, default=1024, help="pixels of a side of the source pictures (1024)")
    p.add_argument("--smallest", type=int, default=4, help="smallest stage that is looked at (4)")
    p.add_argument("--no-steps", action="store_true", help="time loading alone: steps of 1024 px take minutes on a CPU")
    p.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    args = p.parse_intermixed_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = write(folder / "first", 1, "png", 64)
        recipe = load_recipe(args.recipe, [*args.overrides, f"data.path={first}"])
        steps = step_seconds(recipe, args.smallest, timed=not args.no_steps)
        budget = 1.01 * args.pictures * 3 * sum(4**i for i in range(2, 9)) / 1e9  # up to 256 px, and no rounding below
        for kind in ("png", "jpg"):
            source, store = write(folder / kind, args.pictures, kind, args.side), folder / f"{kind}_store"
            size = ["--resolution", str(recipe.resolution), "--budget-gb", str(budget)]
            progcycle(["prepare", str(source), str(store), *size, "--quiet"])
            cached = opened(source, int(recipe.resolution), folder / "cache")
            began = time.process_time()
            cached.prepare(steps)
            each = 1000 * (time.process_time() - began) / args.pictures
            print(f"{kind} the cache of the folder took {each:.0f} ms a picture, once", flush=True)
            places = {
                "folder": opened(source, int(recipe.resolution), None),
                "cache": cached,
                "store": opened(store, int(recipe.resolution), None),
            }
            for resolution, step in steps.items():
                row = [f"{kind} {resolution:5} px" + (f"  step {1000 * step:9.2f} ms a picture" if step else "")]
                for place, pictures in places.items():
                    seconds = loading(pictures, resolution, args.pictures)
                    row.append(f"{place} {1000 * seconds:8.3f} ms" + (f" = {seconds / step:6.2%}" if step else ""))
                    worst = max(worst, seconds / step if step and place != "folder" else 0.0)
                print("  ".join(row), flush=True)
    if args.no_steps:
        return 0
    print(f"from a cache or a store loading takes at most {worst:.2%} of a step")
    return 0 if worst <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
