"""``progcycle interpolate RUN --out FILE``: a video from picture to picture, or to translations and back."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from progcycle.commands.cli import (
    add_class,
    add_device,
    add_painting,
    add_run,
    check_file,
    guarded,
    natural,
    painted_resolution,
    parser,
    pick_device,
    positive,
    refuse_others,
)
from progcycle.errors import UserError
from progcycle.output import bars_hidden, say

if TYPE_CHECKING:
    from progcycle.export import Generator, Translator
    from progcycle.export.translator import Direction

DESCRIPTION = """Make a video that repeats without a jump.

Of a generator (PG-GAN, BEGAN and others) it moves from picture to picture, through those that progcycle generate makes
with the same seed (and class): number 0, 1, 2, ...; or through those of latents that progcycle project found.

Of translators (CycleGAN) each picture turns into its translation, and back. The frames between are blends: the picture
plus a share of the change, in grey levels, and a title names the share. With --keyframes, translators with latents move
from translation to translation of a picture instead, and the network paints every frame.

The video is an animated WebP or GIF, or an MP4 with the extra 'video' (pip install 'progcycle[video]')."""
EXAMPLES = """examples:
  progcycle interpolate runs/pggan_emoji --out walk.webp
  progcycle interpolate runs/pggan_emoji --out walk.mp4 --keyframes 12 --seconds 1.5 --rows 3 --columns 4
  progcycle interpolate runs/pggan_digits_classes --out sevens.gif --class 7 --seed 1
  progcycle interpolate runs/pggan_emoji --out mine.webp --latents found/latents.safetensors
  progcycle interpolate runs/cyclegan_openmoji --out coloured.webp --direction ab
  progcycle interpolate runs/cyclegan_openmoji --out mine.gif --direction ba --pictures photo.jpg
  progcycle interpolate runs/latents --out colours.webp --direction ab --keyframes 6"""

OF_GENERATORS = (
    "seed", "keyframes", "rows", "columns", "resolution", "levels", "batch_size", "class_name", "latents",
)  # fmt: skip
OF_TRANSLATORS = ("direction", "pictures", "count", "keyframes", "seed")
Frames: TypeAlias = tuple[Iterable[Any], int, str]  # images, how many, and what they show
KEYFRAMES, ROWS, COLUMNS, BATCH, COUNT, TILE = 6, 1, 1, 16, 4, 256
MOST_SECONDS = 3600


def _parser() -> argparse.ArgumentParser:
    p = parser("interpolate", DESCRIPTION, EXAMPLES)
    add_run(p)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="video to write: .webp, .gif or .mp4")
    p.add_argument("--seconds", type=float, default=2.0, help="seconds from one picture to the next (default 2)")
    p.add_argument("--fps", type=positive, default=20, help="frames a second (default 20)")
    size = "enlarge pictures by a whole factor, up to this many pixels a side (default 256, in a grid of walks 128)"
    p.add_argument("--size", type=positive, metavar="PX", help=size)
    p.add_argument("--seed", type=natural, help="which series of pictures, or of translations (default 0)")
    p.add_argument(
        "--keyframes",
        type=positive,
        metavar="N",
        help="pictures to pass through (default 6); translators with latents: translations of each picture",
    )
    p.add_argument("--rows", type=positive, help="generators: show a grid of several walks: its rows (default 1)")
    p.add_argument("--columns", type=positive, help="and its columns (default 1)")
    latents = "generators: pass through the latents of this file, which progcycle project wrote"
    p.add_argument("--latents", type=Path, metavar="FILE", help=latents)
    add_painting(p)
    p.set_defaults(batch_size=None)
    add_class(p, "one class for each walk, in turn")
    p.add_argument(
        "--direction", choices=("ab", "ba"), help="translators: ab turns A into B (default), ba turns B into A"
    )
    pictures = "translators: a picture, or a folder of pictures, to start from (default: the run's test pictures)"
    p.add_argument("--pictures", type=Path, metavar="PATH", help=pictures)
    p.add_argument("--count", type=positive, help=f"translators: pictures side by side (default {COUNT})")
    add_device(p)
    return p


def run(argv: Sequence[str] | None = None) -> int:
    """Write the video."""
    args = _parser().parse_intermixed_args(argv)
    if args.keyframes is not None and args.keyframes < 2:
        raise UserError("--keyframes must be at least 2, so that there is a way from one picture to another.")
    if not 0 < args.seconds <= MOST_SECONDS:
        raise UserError(f"--seconds must be above 0 and at most {MOST_SECONDS}, got {args.seconds:g}.")

    from tqdm import tqdm

    from progcycle.export import Generator, Translator, load
    from progcycle.export.video import VIDEOS, check_video, write_video

    check_file(args.out, VIDEOS)
    check_video(args.out, args.fps)
    model = load(args.run, pick_device(args.device))
    steps = max(1, round(args.seconds * args.fps))
    if isinstance(model, Generator):
        _refuse_others(args, OF_GENERATORS, model.kind)
        frames, count, words = _walk(model, args, steps)
    elif isinstance(model, Translator):
        _refuse_others(args, OF_TRANSLATORS, model.kind)
        frames, count, words = _translations(model, args, steps)
    else:
        remedy = f"use progcycle {model.command}" if model.command else "give another run"
        raise UserError(f"{args.run} holds {model.kind}, which has no ways between pictures; {remedy}.")
    write_video(args.out, tqdm(frames, total=count, unit="frame", disable=bars_hidden(), leave=False), args.fps)
    say(f"wrote {count} frames ({count / args.fps:.1f} s) with {words} to {args.out}")
    return 0


def _refuse_others(args: argparse.Namespace, taken: tuple[str, ...], kind: str) -> None:
    given = [name for name in dict.fromkeys((*OF_GENERATORS, *OF_TRANSLATORS)) if getattr(args, name) is not None]
    refuse_others(given, taken, args.run, kind)


def _walk(model: "Generator", args: argparse.Namespace, steps: int) -> Frames:
    """Those of a generator."""
    from progcycle.export.interpolation import interpolation_frames
    from progcycle.export.latent_files import read_latents

    rows, columns, seed = args.rows or ROWS, args.columns or COLUMNS, args.seed or 0
    keyframes, found, source = args.keyframes or KEYFRAMES, None, f"seed {seed}"
    if args.latents is not None:
        for name in ("seed", "keyframes", "rows", "columns"):
            if getattr(args, name) is not None:
                raise UserError(f"--{name} is for latents of a seed; leave it out, as --latents gives the latents.")
        found = read_latents(args.latents, model)
        keyframes, source = len(found.rows), f"latents of {args.latents}"
        if keyframes < 2:
            raise UserError(
                f"{args.latents} holds the latents of one picture, and a way needs two; project another one."
            )
    side = painted_resolution(model, args.run, args.resolution, args.levels)
    frames = interpolation_frames(
        model,
        keyframes,
        steps,
        seed=seed,
        rows=rows,
        columns=columns,
        class_name=args.class_name,
        resolution=side,
        size=args.size,
        batch_size=args.batch_size or BATCH,
        found=found,
    )
    shown = "pictures" if rows * columns == 1 else f"{rows} x {columns} pictures"
    return frames, keyframes * steps, f"{shown} of {side.words} ({source})"


def _translations(model: "Translator", args: argparse.Namespace, steps: int) -> Frames:
    """Those of translators."""
    from progcycle.export.morph import latent_frames, morph_frames
    from progcycle.export.source_pictures import TranslatorExamples

    if args.seed is not None and args.keyframes is None:
        raise UserError("--seed chooses translations to pass through; give --keyframes N too, or leave it out.")
    direction: Direction = args.direction or "ab"
    examples = TranslatorExamples(
        model.config, args.count or COUNT, args.size or TILE, direction=direction, pictures=args.pictures
    )
    count = len(examples.sources)
    pictures = f"{count} picture{'s' * (count != 1)}, {examples.words}"
    if args.keyframes is None:
        return morph_frames(model, examples, steps), 2 * steps, f"{pictures} and back"
    seed = args.seed or 0
    model.latents(direction, [seed])  # as a check
    frames = latent_frames(model, examples, args.keyframes, steps, seed)
    return frames, args.keyframes * steps, f"{args.keyframes} translations of {pictures}"


main = guarded(run)
