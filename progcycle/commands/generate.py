"""``progcycle generate RUN --out FOLDER``: generate pictures with a trained PG-GAN or BEGAN."""

import re
from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import (
    add_class,
    add_device,
    add_painting,
    add_run,
    check_folder,
    guarded,
    natural,
    painted_resolution,
    parser,
    pick_device,
    positive,
)
from progcycle.output import bars_hidden, say

DESCRIPTION = """Generate pictures with a trained PG-GAN or BEGAN, as PNG files 000000.png, 000001.png, ...

A model of pictures of more than 8 bits, or of other than 1 or 3 channels, writes such pictures, as TIFF files where
PNG cannot hold them.

Picture number i of a seed is the same picture whatever the count and the batch size. A model with classes shows
them in turn: picture i is of class i modulo the number of classes."""
EXAMPLES = """examples:
  progcycle generate runs/pggan_celebahq --count 64 --seed 1 --out faces --grid
  progcycle generate runs/pggan_celebahq/snapshots/nimg-000000600000 --count 16 --out early --resolution 64
  progcycle generate runs/pggan_digits_classes --count 16 --class 7 --out sevens
  progcycle generate runs/lapgan_emoji --count 16 --levels 2 --out coarse"""
GRID_LIMIT = 64
OURS = re.compile(r"\d{6,}\.(png|tif)|grid\.png")


def run(argv: Sequence[str] | None = None) -> int:
    """Write the folder of pictures; it appears complete or not at all."""
    p = parser("generate", DESCRIPTION, EXAMPLES)
    add_run(p)
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to create")
    p.add_argument("--count", type=positive, default=16, help="how many pictures (default 16)")
    p.add_argument("--seed", type=natural, default=0, help="which series of pictures (default 0)")
    add_painting(p)
    p.add_argument("--grid", action="store_true", help=f"add grid.png, one sheet of the first {GRID_LIMIT} pictures")
    p.add_argument("--overwrite", action="store_true", help="replace the pictures of an earlier progcycle generate")
    add_class(p)
    add_device(p)
    args = p.parse_intermixed_args(argv)
    out: Path = args.out.absolute()
    check_folder(out, OURS, "--out", "generated pictures", args.overwrite)

    from tqdm import tqdm

    from progcycle.export import Generator, load_as, to_pil
    from progcycle.export.contact_sheet import grid
    from progcycle.files import atomic_folder

    model = load_as(Generator, args.run, pick_device(args.device))
    side = painted_resolution(model, args.run, args.resolution, args.levels)
    labels = model.labels_for(args.count, args.class_name)
    shown = []
    with atomic_folder(out) as folder, tqdm(total=args.count, unit="img", disable=bars_hidden(), leave=False) as bar:
        for start in range(0, args.count, args.batch_size):
            count = min(args.batch_size, args.count - start)
            some = None if labels is None else labels[start : start + count]
            made = model.generate(
                count, args.seed, start=start, resolution=side, batch_size=args.batch_size, labels=some
            )
            for i, image in enumerate(to_pil(made), start):
                model.write(made[i - start], folder / f"{i:06d}")
                if args.grid and i < GRID_LIMIT:
                    shown.append(image)
            bar.update(count)
        if args.grid:
            grid(shown, model.classes if args.class_name is None else ()).save(folder / "grid.png")
    pictures = f"{args.count} picture{'s' * (args.count != 1)}"
    say(f"wrote {pictures} of {side.words} (seed {args.seed}){' and grid.png' * args.grid} to {args.out}")
    return 0


main = guarded(run)
