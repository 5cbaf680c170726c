"""``progcycle progression RUN --out FILE``: the same latents through all snapshots of a PG-GAN run."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.commands.cli import add_device, guarded, natural, parser, pick_device, positive, say
from progcycle.commands.painting import add_class, check_file, choose_labels, columns_for, load_generator, paint
from progcycle.errors import UserError
from progcycle.files import atomic_file

if TYPE_CHECKING:
    from PIL import Image

DESCRIPTION = """Show how a PG-GAN learned: the same latents through the snapshots of its run, the oldest first.

A PNG file is a contact sheet with a row for each snapshot. A video (.webp, .gif, or .mp4 with the extra 'video':
pip install 'progcycle[video]') has a frame for each snapshot, and stays at the last one for two seconds."""
EXAMPLES = """examples:
  progcycle progression runs/pggan_emoji --out progression.png
  progcycle progression runs/pggan_emoji --out progression.mp4 --count 16 --fps 8
  progcycle progression runs/pggan_celebahq --out faces.png --count 6 --rows 20 --size 256"""
REST = 2.0  # seconds


def run(argv: Sequence[str] | None = None) -> int:
    """Write the contact sheet or the video."""
    p = parser("progression", DESCRIPTION, EXAMPLES)
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write: .png, .webp, .gif or .mp4")
    p.add_argument("--count", type=positive, default=8, help="pictures of each snapshot (default 8)")
    p.add_argument("--seed", type=natural, default=0, help="which series of pictures (default 0)")
    p.add_argument("--every", type=positive, default=1, metavar="N", help="take every N-th snapshot, and the last")
    p.add_argument("--rows", type=positive, default=12, help="of a contact sheet, at most, spread evenly (default 12)")
    p.add_argument("--fps", type=positive, default=4, help="snapshots a second of a video (default 4)")
    p.add_argument("--size", type=positive, default=128, metavar="PX", help="side of a picture's tile (default 128)")
    p.add_argument("--batch-size", type=positive, default=16, help="pictures painted at a time (default 16)")
    add_class(p)
    add_device(p)
    args = p.parse_intermixed_args(argv)

    from tqdm import tqdm

    from progcycle.export import list_snapshots
    from progcycle.export.config import read_config
    from progcycle.export.video import VIDEOS, check_video, write_video

    check_file(args.out, (".png", *VIDEOS))
    is_video = args.out.suffix.lower() != ".png"
    if is_video:
        check_video(args.out, args.fps)
    folders = list_snapshots(args.run)
    configs = [read_config(folder) for folder in folders]
    if configs[0].task != "pggan":
        raise UserError(f"{args.run} is a run of translators; progression shows runs of a PG-GAN.")
    chosen = sorted({*range(0, len(folders), args.every), len(folders) - 1})
    if not is_video:
        chosen = [chosen[i] for i in spread([configs[i].resolution for i in chosen], args.rows)]
    work = tqdm([folders[i] for i in chosen], unit="snapshot", disable=None, leave=False)
    shown = (_Row(folder, args) for folder in work)
    if is_video:
        write_video(args.out, _frames(shown, args), args.fps)
    else:
        _write_sheet(list(shown), args)
    number = f"{len(chosen)} of {len(folders)}" if len(chosen) < len(folders) else f"{len(folders)}"
    say(f"wrote {args.count} pictures of {number} snapshots (seed {args.seed}) to {args.out}")
    return 0


def spread(resolutions: Sequence[int], limit: int) -> list[int]:
    """Which snapshots to show: evenly spread, the first, the last, and one of every resolution if there is room.

    Args:
        resolutions: of all snapshots, oldest first.
        limit: how many to show at most; of a single one, the last.

    Returns:
        Indices in rising order.
    """
    last = len(resolutions) - 1
    if last < limit or limit == 1:
        return list(range(last + 1))[-limit:]
    chosen = {(2 * i * last + limit - 1) // (2 * (limit - 1)) for i in range(limit)}  # i * last / (limit - 1), rounded
    for missing in sorted(set(resolutions) - {resolutions[i] for i in chosen}):
        seen = [resolutions[i] for i in chosen]
        spare = [i for i in chosen - {0, last} if seen.count(resolutions[i]) > 1]
        if spare:
            newcomer = max(i for i, resolution in enumerate(resolutions) if resolution == missing)
            _, nearest = min((abs(i - newcomer), i) for i in spare)
            chosen ^= {newcomer, nearest}
    return sorted(chosen)


class _Row:
    """The pictures of one snapshot, and what is to be said about them."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        model = load_generator(folder, pick_device(args.device))
        labels = choose_labels(model, args.class_name, args.count)
        latents = model.latents(args.count, args.seed)
        self.pictures: list[Image.Image] = list(paint(model, latents, labels, None, args.batch_size))
        config = model.config
        self.words = [f"{config.nimg / 1000:.6g} kimg", f"{config.resolution} px"]
        if config.alpha < 1:
            self.words.append(f"fade {int(100 * config.alpha)}%")
        in_turn = labels is not None and args.class_name is None
        self.classes = [model.classes[label] for label in labels or ()] if in_turn else None


def _write_sheet(rows: Sequence[_Row], args: argparse.Namespace) -> None:
    from progcycle.export.pictures import sheet

    side = ["\n".join(row.words) for row in rows]
    page = sheet([row.pictures for row in rows], rows[-1].classes, args.size, side=side)
    with atomic_file(args.out) as file:
        page.save(file)


def _frames(rows: Iterable[_Row], args: argparse.Namespace) -> Iterator["Image.Image"]:
    from progcycle.export.pictures import sheet

    columns = columns_for(args.count)
    for row in rows:
        lines = [row.pictures[i : i + columns] for i in range(0, args.count, columns)]
        frame = sheet(lines, tile=args.size, title=", ".join(row.words))
        yield frame
    for _ in range(round(REST * args.fps)):
        yield frame


main = guarded(run)
