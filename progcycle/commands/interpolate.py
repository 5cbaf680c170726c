"""``progcycle interpolate RUN --out FILE``: a video that walks from picture to picture of a trained PG-GAN."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.commands.cli import add_device, guarded, natural, parser, pick_device, positive
from progcycle.commands.painting import add_class, check_file, choose_labels, load_generator, paint
from progcycle.errors import UserError
from progcycle.output import bars_hidden, say

if TYPE_CHECKING:
    from PIL import Image

    from progcycle.export import Generator

DESCRIPTION = """Make a video that moves from picture to picture of a trained PG-GAN, and back to the first.

It passes the pictures that progcycle generate gives with the same seed (and class): number 0, 1, 2, ...
The video is an animated WebP or GIF, or an MP4 with the extra 'video' (pip install 'progcycle[video]')."""
EXAMPLES = """examples:
  progcycle interpolate runs/pggan_emoji --out walk.webp
  progcycle interpolate runs/pggan_emoji --out walk.mp4 --keyframes 12 --seconds 1.5 --rows 3 --columns 4
  progcycle interpolate runs/pggan_digits_classes --out sevens.gif --class 7 --seed 1"""


def run(argv: Sequence[str] | None = None) -> int:
    """Write the video."""
    p = parser("interpolate", DESCRIPTION, EXAMPLES)
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder (its newest snapshot is used), or a snapshot")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="video to write: .webp, .gif or .mp4")
    p.add_argument("--seed", type=natural, default=0, help="which series of pictures (default 0)")
    p.add_argument("--keyframes", type=positive, default=6, metavar="N", help="pictures to pass (default 6)")
    p.add_argument("--seconds", type=float, default=2.0, help="from one of them to the next (default 2)")
    p.add_argument("--fps", type=positive, default=20, help="frames a second (default 20)")
    p.add_argument("--rows", type=positive, default=1, help="several walks side by side: rows (default 1)")
    p.add_argument("--columns", type=positive, default=1, help="and columns (default 1)")
    p.add_argument("--resolution", type=positive, metavar="R", help="use an earlier stage, by its side in pixels")
    size = "enlarge by whole pixels, up to this side (default 256, in a grid 128); nothing is made smaller"
    p.add_argument("--size", type=positive, metavar="PX", help=size)
    p.add_argument("--batch-size", type=positive, default=16, help="pictures computed at a time (default 16)")
    add_class(p, "the first walk keeps the first class, the next the next, and so on")
    add_device(p)
    args = p.parse_intermixed_args(argv)
    if args.keyframes < 2:
        raise UserError("--keyframes must be at least 2, to have a way between them.")
    if not 0 < args.seconds <= 3600:
        raise UserError(f"--seconds must be above 0 and at most 3600, got {args.seconds:g}.")

    from tqdm import tqdm

    from progcycle.export.video import VIDEOS, check_video, write_video

    check_file(args.out, VIDEOS)
    check_video(args.out, args.fps)
    model = load_generator(args.run, pick_device(args.device))
    model.config.growth_at(args.resolution)
    steps = max(1, round(args.seconds * args.fps))
    count = args.keyframes * steps
    frames = tqdm(_frames(model, args, steps), total=count, unit="frame", disable=bars_hidden(), leave=False)
    write_video(args.out, frames, args.fps)
    shown = "pictures" if args.rows * args.columns == 1 else f"{args.rows} x {args.columns} pictures"
    side = args.resolution or model.resolution
    say(f"wrote {count} frames ({count / args.fps:.1f} s) with {shown} of {side} px (seed {args.seed}) to {args.out}")
    return 0


def _frames(model: "Generator", args: argparse.Namespace, steps: int) -> Iterator["Image.Image"]:
    import torch

    from progcycle.export.contact_sheet import enlarge, sheet
    from progcycle.export.interpolation import walk

    cells = args.rows * args.columns
    keys = model.latents(args.keyframes * cells, args.seed)  # [K * N, D]
    if keys.shape[1] < 2:
        raise UserError("This model's latents are single numbers, between which there is no way to walk.")
    latents = torch.cat(list(walk(keys.reshape(args.keyframes, cells, -1), steps)))  # [frames * N, D]
    labels = choose_labels(model, args.class_name, cells)
    every = None if labels is None else labels * (len(latents) // cells)
    pictures = paint(model, latents, every, args.resolution, args.batch_size)
    size = args.size or (256 if cells == 1 else 128)
    if cells == 1:
        yield from (enlarge(picture, size) for picture in pictures)
        return
    for first in pictures:
        frame = [first, *islice(pictures, cells - 1)]
        tile = enlarge(first, size).width
        yield sheet([frame[i : i + args.columns] for i in range(0, cells, args.columns)], tile=tile)


main = guarded(run)
