"""``progcycle generate RUN --out FOLDER``: paint pictures with a trained PG-GAN."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import add_device, guarded, natural, parser, pick_device, positive, say
from progcycle.errors import UserError

DESCRIPTION = """Paint pictures with a trained PG-GAN, as PNG files 000000.png, 000001.png, ...

Picture number i of a seed is the same picture whatever the count and the batch size."""
EXAMPLES = """examples:
  progcycle generate runs/pggan_celebahq --count 64 --seed 1 --out faces --grid
  progcycle generate runs/pggan_celebahq/snapshots/nimg-000000600000 --count 16 --out early --resolution 64"""
GRID_LIMIT = 64
OURS = re.compile(r"\d{6,}\.png|grid\.png")


def run(argv: Sequence[str] | None = None) -> int:
    """Write the folder of pictures; it appears complete or not at all."""
    p = parser("generate", DESCRIPTION, EXAMPLES)
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder (its newest snapshot is used), or a snapshot")
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to make")
    p.add_argument("--count", type=positive, default=16, help="how many pictures (default 16)")
    p.add_argument("--seed", type=natural, default=0, help="which series of pictures (default 0)")
    p.add_argument("--resolution", type=positive, metavar="R", help="an earlier stage, in pixels of a side")
    p.add_argument("--batch-size", type=positive, default=16, help="pictures painted at a time (default 16)")
    p.add_argument("--grid", action="store_true", help=f"add grid.png, one sheet of the first {GRID_LIMIT} pictures")
    p.add_argument("--overwrite", action="store_true", help="replace pictures that an earlier generate wrote there")
    add_device(p)
    args = p.parse_intermixed_args(argv)
    out: Path = args.out.absolute()
    check_target(out, args.overwrite)

    from tqdm import tqdm

    from progcycle.export import Generator, load, to_pil
    from progcycle.export.pictures import sheet
    from progcycle.files import atomic_folder

    model = load(args.run, pick_device(args.device))
    if not isinstance(model, Generator):
        raise UserError(f"{args.run} holds translators, which need a picture to start from; use progcycle translate.")
    model.config.growth_at(args.resolution)
    shown = []
    with atomic_folder(out) as folder, tqdm(total=args.count, unit="img", disable=None, leave=False) as bar:
        for start in range(0, args.count, args.batch_size):
            count = min(args.batch_size, args.count - start)
            pictures = model.generate(
                count, args.seed, start=start, resolution=args.resolution, batch_size=args.batch_size
            )
            for i, image in enumerate(to_pil(pictures), start):
                image.save(folder / f"{i:06d}.png")
                if args.grid and i < GRID_LIMIT:
                    shown.append(image)
            bar.update(count)
        if args.grid:
            columns = math.ceil(math.sqrt(len(shown)))
            rows = [shown[i : i + columns] for i in range(0, len(shown), columns)]
            sheet(rows, tile=max(shown[0].width, 64)).save(folder / "grid.png")
    side = args.resolution or model.resolution
    say(f"wrote {args.count} pictures of {side} px (seed {args.seed}){' and grid.png' * args.grid} to {args.out}")
    return 0


def check_target(out: Path, overwrite: bool) -> None:
    """Refuse to replace anything but what an earlier ``generate`` wrote, and that only when told to.

    Raises:
        UserError: the folder is not free.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give --out the name of a folder.")
    if out == Path.cwd():
        raise UserError("--out is the current folder; give the name of a new one.")
    names = [entry.name for entry in out.iterdir()] if out.exists() else []
    if names and not overwrite:
        raise UserError(f"{out} is not empty; give another folder, or --overwrite to replace earlier pictures.")
    foreign = sorted(name for name in names if not OURS.fullmatch(name))
    if foreign:
        raise UserError(f"{out} holds other files than generated pictures, such as {foreign[0]}; give another folder.")


main = guarded(run)
