"""``progcycle translate RUN INPUT OUTPUT``: translate pictures of any size with a trained CycleGAN."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import (
    STAGE,
    add_device,
    add_run,
    guarded,
    natural,
    parser,
    pick_device,
    positive,
    resolution,
)
from progcycle.errors import UserError, one_line
from progcycle.output import say, warn

DESCRIPTION = """Translate a picture, or all pictures of a folder or zip file, with a trained CycleGAN.

Pictures may have any size and aspect, and keep it. They also keep their names, sub-folders, formats, colour profile,
EXIF data and dots per inch, as far as the format can hold them; formats without true colour, such as a still GIF,
become NAME.gif.png. Transparent pictures are put on the background colour of training, unless --alpha keep is given.
Large pictures are translated in tiles, in little memory: PNG, TIFF and .npy files are read a few rows at a time.
Animated GIF, WebP and PNG are translated frame by frame. So is a video that is itself the INPUT (mp4, mov, mkv, webm:
pip install 'progcycle[video]'); it keeps its sound if the format stays the same."""
EXAMPLES = """examples:
  progcycle translate runs/openmoji photo.jpg translated.png --direction ab
  progcycle translate runs/openmoji photos/ translated/ --direction ba --grid
  progcycle translate runs/openmoji photos/ translated/ --direction ab --scale native --skip-existing
  progcycle translate runs/openmoji scan.tif translated.tif --direction ab --tiles
  progcycle translate runs/openmoji walk.mp4 translated.mp4 --direction ab
  progcycle translate runs/latents drawings/ coloured/ --direction ab --count 4 --grid
  progcycle translate runs/latents drawings/ coloured/ --direction ab --like red.png blue.png --grid"""


def _parser() -> argparse.ArgumentParser:
    p = parser("translate", DESCRIPTION, EXAMPLES)
    add_run(p)
    p.add_argument(
        "input", type=Path, metavar="INPUT", help="a picture or video, a folder (searched recursively) or a zip file"
    )
    p.add_argument("output", type=Path, metavar="OUTPUT", help="folder to write to, or a file for a single picture")
    p.add_argument(
        "--direction", choices=("ab", "ba"), required=True, help="ab turns pictures of A into B, ba turns B into A"
    )
    p.add_argument(
        "--scale",
        choices=("detail", "train", "native"),
        help="detail (default where the recipe has predict: change): the change is painted at the scale of training, "
        "enlarged along the picture's edges, and added to the full picture; train (default elsewhere): resized to the "
        "scale of training, translated, and enlarged, so that detail is lost; native (default where training saw parts "
        "of pictures at their own size): every pixel as it is",
    )
    p.add_argument(
        "--alpha",
        choices=("drop", "keep"),
        default="drop",
        help="transparency: drop (default) writes opaque pictures, keep copies it to the translations",
    )
    _add_latents(p)
    p.add_argument("--resolution", type=resolution, metavar="R", help=f"use an earlier stage: {STAGE}")
    p.add_argument(
        "--max-pixels",
        type=positive,
        metavar="N",
        help="pictures of more pixels are translated in tiles (default: 67108864; with --scale native, where the "
        "network works on all of them, 4194304); those of more than 1073741824 are left out, unless --tiles is given",
    )
    _add_tiles(p)
    p.add_argument(
        "--grid",
        action="store_true",
        help="add a before/after sheet of 16 pictures; of several seeds, all translations of a picture in its row",
    )
    p.add_argument("--skip-existing", action="store_true", help="skip pictures whose output already exists")
    add_device(p)
    return p


def _add_latents(p: argparse.ArgumentParser) -> None:
    """Which of many translations."""
    p.add_argument(
        "--seed",
        type=natural,
        nargs="+",
        metavar="S",
        help="translators with latents: other numbers give other translations of the same picture (default 0); of "
        "several, NAME_seed1.png, NAME_seed2.png and so on are written",
    )
    p.add_argument(
        "--count",
        type=positive,
        metavar="N",
        help="translators with latents: N translations of each picture, of the seeds from the given one (or 0) on",
    )
    p.add_argument(
        "--like",
        type=Path,
        nargs="+",
        metavar="PICTURE",
        help="translators with latents: translate into the colours (or whatever the latents hold) of a picture of the "
        "other domain; of several, NAME_like_PICTURE.png are written",
    )


def _add_tiles(p: argparse.ArgumentParser) -> None:
    """What the network sees of large pictures at a time."""
    p.add_argument(
        "--tiles",
        type=positive,
        nargs="?",
        const=True,
        default=False,
        metavar="PX",
        help="translate all pictures in tiles, in memory that does not grow with them; with --scale native or --side, "
        "PX is the side of what the network sees at a time (default: 1024, or what its receptive field asks for)",
    )
    p.add_argument(
        "--overlap",
        type=natural,
        metavar="PX",
        help="pixels by which tiles overlap (default: twice the receptive field, so that the picture is the same as "
        "without tiles; for networks that see the whole picture, a quarter of a tile, blended)",
    )
    p.add_argument(
        "--side",
        type=positive,
        metavar="PX",
        help="with --scale detail or train: the short side at which the network works (default: that of training)",
    )


def _seeds(given: Sequence[int] | None, count: int | None) -> tuple[int, ...]:
    """The seeds of ``--seed`` and ``--count``.

    Raises:
        UserError: several seeds and a count, which do not go together.
    """
    if count is None:
        return tuple(dict.fromkeys(given or ()))
    if given is not None and len(given) > 1:
        raise UserError("--count counts on from one seed; give --seed a single number, or leave --count out.")
    first = given[0] if given else 0
    return tuple(range(first, first + count))


def run(argv: Sequence[str] | None = None) -> int:
    """Translate what can be translated, and list what cannot."""
    args = _parser().parse_intermixed_args(argv)

    from progcycle.export import Translator, load_as
    from progcycle.export.spool import return_freed_memory
    from progcycle.export.translate_files import translate_files

    return_freed_memory()

    model = load_as(Translator, args.run, pick_device(args.device))
    done = translate_files(
        model,
        args.input,
        args.output,
        args.direction,
        scale=args.scale,
        alpha=args.alpha,
        resolution=args.resolution,
        max_pixels=args.max_pixels,
        skip_existing=args.skip_existing,
        grid=args.grid,
        seeds=_seeds(args.seed, args.count),
        like=args.like or (),
        side=args.side,
        tiles=args.tiles,
        overlap=args.overlap,
    )
    if done.faults:
        warn(f"{len(done.faults)} of {done.written + len(done.faults)} pictures were not translated:")
        for fault in done.faults:
            warn(f"  {one_line(fault)}")
    already = f" ({done.existing} existed already)" if done.existing else ""
    say(f"wrote {done.written} translated picture{'s' * (done.written != 1)}{already} to {args.output}")
    if done.sheet is not None:
        say(f"wrote {done.sheet}")
    return 1 if done.faults else 0


main = guarded(run)
