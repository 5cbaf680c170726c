"""``progcycle progression RUN --out FILE``: the same latents, or the same test pictures, through a run's snapshots."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import (
    add_batch_size,
    add_class,
    add_device,
    check_file,
    guarded,
    natural,
    parser,
    pick_device,
    positive,
    refuse_others,
)
from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.output import bars_hidden, say

DESCRIPTION = """Show how a model learned: what each snapshot of its run, the oldest first, makes of the same latents
(PG-GAN) or of the same test pictures (CycleGAN, autoencoder).

A PNG file is a contact sheet with a row for each snapshot; with --show stages or network, the stages of growth are side
by side, with a row for each picture. A video (.webp, .gif, or .mp4 with the extra 'video':
pip install 'progcycle[video]') has a frame for each snapshot, and stays on the last one for two seconds."""
EXAMPLES = """examples:
  progcycle progression runs/pggan_emoji --out progression.png
  progcycle progression runs/pggan_emoji --out progression.mp4 --count 16 --fps 8
  progcycle progression runs/pggan_celebahq --out faces.png --count 6 --rows 20 --size 256
  progcycle progression runs/cyclegan_openmoji --out coloured.png --direction ab
  progcycle progression runs/cyclegan_openmoji --out mine.webp --direction ba --pictures photos/
  progcycle progression runs/cyclegan_openmoji --out stages.png --show stages --pictures photo.jpg"""
SHOWN = ("snapshots", "stages", "network")
ROWS = 12
OPTIONS = ("seed", "class_name", "direction", "pictures")  # of the examples, each of some tasks


def _parser() -> argparse.ArgumentParser:
    p = parser("progression", DESCRIPTION, EXAMPLES)
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder; of --show network a snapshot too")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write: .png, .webp, .gif or .mp4")
    p.add_argument("--count", type=positive, default=8, help="pictures for each snapshot (default 8)")
    p.add_argument("--seed", type=natural, help="PG-GAN: which series of pictures (default 0)")
    p.add_argument("--direction", choices=("ab", "ba"), help="CycleGAN: ab turns A into B (default), ba turns B into A")
    p.add_argument(
        "--pictures",
        type=Path,
        metavar="PATH",
        help="CycleGAN, autoencoder: a picture, or a folder of some, to start from (default: the run's test pictures)",
    )
    p.add_argument(
        "--show",
        choices=SHOWN,
        default="snapshots",
        help="snapshots (default); stages: the last snapshot of each resolution; network: what the newest snapshot "
        "paints at each resolution, with its layers as they are now",
    )
    p.add_argument("--every", type=positive, metavar="N", help="show every N-th snapshot, and the last one")
    p.add_argument(
        "--rows",
        type=positive,
        help="most rows of a contact sheet; the snapshots are evenly spread (default 12)",
    )
    p.add_argument("--fps", type=positive, default=4, help="snapshots a second in a video (default 4)")
    p.add_argument("--size", type=positive, default=128, metavar="PX", help="side of a picture's tile (default 128)")
    add_batch_size(p)
    add_class(p)
    add_device(p)
    return p


def run(argv: Sequence[str] | None = None) -> int:
    """Write the contact sheet or the video."""
    args = _parser().parse_intermixed_args(argv)

    from tqdm import tqdm

    from progcycle.export.snapshot import find_snapshot, list_snapshots, model_class
    from progcycle.export.timeline import timeline
    from progcycle.export.video import VIDEOS, check_video, write_video

    check_file(args.out, (".png", *VIDEOS))
    is_video = args.out.suffix.lower() != ".png"
    for name in ("every", "rows"):
        if getattr(args, name) is not None and args.show != "snapshots":
            raise UserError(f"--{name} chooses among snapshots; leave it out, or leave --show {args.show} out.")
    if is_video:
        check_video(args.out, args.fps)
        if args.rows is not None:
            raise UserError(
                "--rows is for contact sheets (.png); a video has a frame for each snapshot, or use --every."
            )
    options = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    model = model_class(find_snapshot(args.run) if args.show == "network" else list_snapshots(args.run)[-1])
    if model.examples is not None:
        refuse_others(options, model.examples.options(), args.run, model.kind)
    shown = timeline(
        args.run,
        count=args.count,
        side=args.size,
        batch_size=args.batch_size,
        every=args.every or 1,
        limit=None if is_video else args.rows or ROWS,
        device=pick_device(args.device),
        show=args.show,
        **options,
    )
    moments = tqdm(shown, unit="snapshot", disable=bars_hidden(), leave=False)
    if is_video:
        write_video(args.out, shown.frames(args.fps, moments), args.fps)
    else:
        page = shown.sheet(moments)
        with atomic_file(args.out) as file:
            page.save(file)
    total, moment = (shown.total, "snapshot") if args.show == "snapshots" else (len(shown), "stage")
    number = f"{len(shown)} of {total}" if len(shown) < total else f"{total}"
    count = len(shown.examples.sources) or args.count
    pictures, moments_shown = f"picture{'s' * (count != 1)}", f"{moment}{'s' * (total != 1)}"
    say(f"wrote {count} {pictures} of {number} {moments_shown} ({shown.examples.words}) to {args.out}")
    return 0


main = guarded(run)
