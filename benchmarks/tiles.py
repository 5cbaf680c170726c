"""Time and memory of translating large pictures in tiles, and what tiles change.

python benchmarks/tiles.py runs/mine                                             # 1,024 to 4,096 px, detail and native
python benchmarks/tiles.py runs/mine --scales detail --sizes 5000 10000 20000 --format tif
python benchmarks/tiles.py runs/mine --sizes --picture seams.png --sheet FOLDER    # draws, and measures nothing

Each picture is translated by the command, in a process of its own; time and memory are those of the whole process. The
drawing is a translation of 4,096 px at the scale native, beside the differences to the translation without tiles: with
tiles as they are by default, and with an overlap that is too small. It holds 16 times the memory of a tile.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

GIB = 1 << 30
KIB = 1024  # ru_maxrss of Linux
ROWS = 256  # of a picture that are made at a time


def coarse(seed: int = 0) -> np.ndarray:
    """Some colours, which are enlarged to a picture.  # [16, 16, 3]"""
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def bands(side: int) -> "list[tuple[int, int]]":
    """Rows of a picture, a band after the other."""
    return [(i, min(i + ROWS, side)) for i in range(0, side, ROWS)]


def paint(side: int, first: int, last: int) -> np.ndarray:
    """Rows of smooth shapes with a little noise, which compress as photographs do.  # [last - first, side, 3]"""
    box = (0, first * 16 / side, 16, last * 16 / side)
    smooth = Image.fromarray(coarse()).resize((side, last - first), Image.Resampling.BICUBIC, box=box)
    noise = np.random.default_rng(first).integers(0, 9, (last - first, 1021), dtype=np.uint8)
    noise = np.tile(noise, -(-side // noise.shape[1]))[:, :side]
    return np.asarray(smooth) // 16 * 15 + noise[:, :, None]


def write(file: Path, side: int) -> None:
    """Write a square picture in little memory, but for a JPEG or another format that Pillow writes at once."""
    from progcycle.export.band_files import write_bands
    from progcycle.export.metadata import Metadata

    write_bands((paint(side, i, j) for i, j in bands(side)), side, side, Metadata(), "white", file)


def measure(run: str, source: Path, target: Path, options: list[str]) -> tuple[float, float, float]:
    """Translate a picture by the command: seconds, seconds of CPU, and GiB at the peak."""
    command = [sys.executable, "-m", "progcycle.translate", run, str(source), str(target), "--direction", "ab"]
    start = time.perf_counter()
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * KIB / GIB


def table(run: str, scales: list[str], sizes: list[int], ending: str, more: list[str]) -> None:
    """Measure every scale and size, and print a line each, and how time and memory grow."""
    print(f"{'scale':8} {'px':>14} {'seconds':>8} {'CPU s':>8} {'peak GiB':>9} {'CPU s a megapixel':>18}")
    for scale in scales:
        found = []
        for side in sizes:
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                source = Path(folder) / f"in.{ending}"
                write(source, side)
                options = ["--scale", scale, "--tiles", *more]
                wall, cpu, peak = measure(run, source, Path(folder) / f"out.{ending}", options)
            pixels = side * side / 1e6
            found.append((pixels, cpu, peak))
            size = f"{side} x {side}"
            print(f"{scale:8} {size:>14} {wall:8.1f} {cpu:8.1f} {peak:9.2f} {cpu / pixels:18.3f}", flush=True)
        if len(found) > 1:
            megapixels, seconds, peaks = (np.array(column) for column in zip(*found, strict=True))
            rate, start = np.polyfit(megapixels, seconds, 1)
            growth = np.polyfit(np.log(megapixels), np.log(np.maximum(seconds - start, 1e-3)), 1)[0]
            memory = np.polyfit(megapixels, peaks * KIB, 1)[0]
            print(
                f"{scale:8} time = {start:.1f} s + {rate:.3f} s a megapixel (log-log slope {growth:.2f}); memory grows "
                f"by {memory:.2f} MiB a megapixel"
            )


def sheet(folder: Path | None, side: int, each: int) -> np.ndarray:
    """A square of the pictures of a folder side by side, ``each`` px wide; without one, smooth shapes."""
    if folder is None:
        return np.concatenate([paint(side, i, j) for i, j in bands(side)])
    files = sorted(file for file in folder.iterdir() if file.suffix in (".png", ".jpg"))
    pictures = [np.asarray(Image.open(file).convert("RGB").resize((each, each))) for file in files]
    across = -(-side // each)
    places = np.random.default_rng(0).integers(0, len(pictures), (across, across))
    rows = [np.concatenate([pictures[place] for place in row], axis=1) for row in places]
    return np.concatenate(rows)[:side, :side]


def draw(run: str, target: Path, folder: Path | None, side: int, overlap: int | None) -> None:
    """Draw a translation beside what tiles change of it."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    import progcycle

    model = progcycle.load(run)
    picture = sheet(folder, side, model.resolution)
    whole = model.translate(picture, "ab", "native").astype(int)
    reach = model.reach("ab")
    small = overlap if overlap is not None else (reach or 0) // 8 * 2
    figure, axes = plt.subplots(1, 3, figsize=(15, 5.6), layout="constrained")
    axes[0].imshow(whole.astype(np.uint8))
    axes[0].set_title(f"translation, {side} x {side} px")
    for axis, given in ((axes[1], None), (axes[2], small)):
        tiling = model.tiling("ab", overlap=given)
        tiles = model.translate(picture, "ab", "native", tiles=True, overlap=given)
        levels = np.abs(tiles - whole).max(axis=2)
        # Of what would vanish in the drawing, the greatest difference of each square is shown.
        step = max(1, side // 512)
        cut = side // step * step
        shown = levels[:cut, :cut].reshape(cut // step, step, cut // step, step).max(axis=(1, 3))
        image = axis.imshow(shown, cmap="magma", vmin=0, vmax=8, extent=(0, side, side, 0))
        how = "the receptive field" if tiling.exact else "blended"
        axis.set_title(
            f"tiles of {tiling.side} px, overlap {2 * tiling.margin} px ({how}):\n"
            f"differs by {levels.mean():.4f} levels, {levels.max()} at most"
        )
    figure.colorbar(image, ax=axes[1:], label="difference to the translation without tiles, grey levels", shrink=0.8)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(target, dpi=90)


def main() -> None:
    """Measure, and draw."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", help="of translators, or a snapshot of one")
    p.add_argument("--sizes", type=int, nargs="*", default=[1024, 2048, 4096], help="pixels of a side")
    p.add_argument("--scales", nargs="+", default=["detail", "native"])
    p.add_argument("--format", default="png", help="ending of the pictures (png)")
    p.add_argument("--options", nargs="*", default=[], help="more words of the command, without their dashes: side 512")
    p.add_argument("--picture", type=Path, help="draw this file")
    p.add_argument("--sheet", type=Path, metavar="FOLDER", help="of the pictures of the drawing")
    p.add_argument("--side", type=int, default=4096, help="pixels of a side of the drawing's picture")
    p.add_argument("--overlap", type=int, help="the one that is too small (a quarter of the receptive field)")
    args = p.parse_args()
    if args.sizes:
        more = [word if word.isdigit() else f"--{word}" for word in args.options]
        table(args.run, args.scales, args.sizes, args.format, more)
    if args.picture is not None:
        draw(args.run, args.picture, args.sheet, args.side, args.overlap)


if __name__ == "__main__":
    main()
