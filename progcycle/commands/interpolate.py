"""``progcycle interpolate RUN --out FILE``: a video that moves from picture to picture of a trained PG-GAN or BEGAN."""

from collections.abc import Sequence
from pathlib import Path

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
)
from progcycle.errors import UserError
from progcycle.output import bars_hidden, say

DESCRIPTION = """Make a video that moves from picture to picture of a trained PG-GAN or BEGAN, and back to the first.

It passes through the pictures that progcycle generate makes with the same seed (and class): number 0, 1, 2, ...
The video is an animated WebP or GIF, or an MP4 with the extra 'video' (pip install 'progcycle[video]')."""
EXAMPLES = """examples:
  progcycle interpolate runs/pggan_emoji --out walk.webp
  progcycle interpolate runs/pggan_emoji --out walk.mp4 --keyframes 12 --seconds 1.5 --rows 3 --columns 4
  progcycle interpolate runs/pggan_digits_classes --out sevens.gif --class 7 --seed 1"""

OPTIONS = ("seed", "rows", "columns", "class_name", "size", "batch_size")


def run(argv: Sequence[str] | None = None) -> int:
    """Write the video."""
    p = parser("interpolate", DESCRIPTION, EXAMPLES)
    add_run(p)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="video to write: .webp, .gif or .mp4")
    p.add_argument("--seed", type=natural, default=0, help="which series of pictures (default 0)")
    p.add_argument("--keyframes", type=positive, default=6, metavar="N", help="pictures to pass through (default 6)")
    p.add_argument("--seconds", type=float, default=2.0, help="seconds from one of them to the next (default 2)")
    p.add_argument("--fps", type=positive, default=20, help="frames a second (default 20)")
    p.add_argument("--rows", type=positive, default=1, help="show a grid of several walks: its rows (default 1)")
    p.add_argument("--columns", type=positive, default=1, help="and its columns (default 1)")
    size = "enlarge pictures by a whole factor, up to this many pixels a side (default 256, in a grid 128)"
    p.add_argument("--size", type=positive, metavar="PX", help=size)
    add_painting(p)
    add_class(p, "one class for each walk, in turn")
    add_device(p)
    args = p.parse_intermixed_args(argv)
    if args.keyframes < 2:
        raise UserError("--keyframes must be at least 2, so that there is a way from one picture to another.")
    if not 0 < args.seconds <= 3600:
        raise UserError(f"--seconds must be above 0 and at most 3600, got {args.seconds:g}.")

    from tqdm import tqdm

    from progcycle.export import Generator, load_as
    from progcycle.export.interpolation import interpolation_frames
    from progcycle.export.video import VIDEOS, check_video, write_video

    check_file(args.out, VIDEOS)
    check_video(args.out, args.fps)
    model = load_as(Generator, args.run, pick_device(args.device))
    side = painted_resolution(model, args.run, args.resolution, args.levels)
    steps = max(1, round(args.seconds * args.fps))
    count = args.keyframes * steps
    options = {**{name: getattr(args, name) for name in OPTIONS}, "resolution": side}
    frames = interpolation_frames(model, args.keyframes, steps, **options)
    write_video(args.out, tqdm(frames, total=count, unit="frame", disable=bars_hidden(), leave=False), args.fps)
    shown = "pictures" if args.rows * args.columns == 1 else f"{args.rows} x {args.columns} pictures"
    say(
        f"wrote {count} frames ({count / args.fps:.1f} s) with {shown} of {side.words} (seed {args.seed}) to {args.out}"
    )
    return 0


main = guarded(run)
