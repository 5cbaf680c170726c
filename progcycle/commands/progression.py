"""``progcycle progression RUN --out FILE``: the same latents, or the same test pictures, through a run's snapshots."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.commands.cli import add_device, guarded, natural, parser, pick_device, positive
from progcycle.commands.painting import add_class, check_file, choose_labels, columns_for, load_generator, paint
from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.output import bars_hidden, say

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from progcycle.export.config import SnapshotConfig

DESCRIPTION = """Show how a model learned: what each snapshot of its run, the oldest first, makes of the same latents
(PG-GAN) or of the same test pictures (CycleGAN).

A PNG file is a contact sheet with a row for each snapshot. A video (.webp, .gif, or .mp4 with the extra 'video':
pip install 'progcycle[video]') has a frame for each snapshot, and stays on the last one for two seconds."""
EXAMPLES = """examples:
  progcycle progression runs/pggan_emoji --out progression.png
  progcycle progression runs/pggan_emoji --out progression.mp4 --count 16 --fps 8
  progcycle progression runs/pggan_celebahq --out faces.png --count 6 --rows 20 --size 256
  progcycle progression runs/cyclegan_openmoji --out coloured.png --direction ab
  progcycle progression runs/cyclegan_openmoji --out mine.webp --direction ba --pictures photos/"""
REST = 2.0  # seconds


def run(argv: Sequence[str] | None = None) -> int:
    """Write the contact sheet or the video."""
    p = parser("progression", DESCRIPTION, EXAMPLES)
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write: .png, .webp, .gif or .mp4")
    p.add_argument("--count", type=positive, default=8, help="pictures of each snapshot (default 8)")
    p.add_argument("--seed", type=natural, help="of a PG-GAN: which series of pictures (default 0)")
    p.add_argument("--direction", choices=("ab", "ba"), help="of a CycleGAN: ab turns A into B (default), ba back")
    p.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="of a CycleGAN: folder of pictures (default: the run's test pictures)",
    )
    p.add_argument("--every", type=positive, default=1, metavar="N", help="take every N-th snapshot, and the last")
    p.add_argument("--rows", type=positive, default=12, help="of a contact sheet, at most, spread evenly (default 12)")
    p.add_argument("--fps", type=positive, default=4, help="snapshots a second of a video (default 4)")
    p.add_argument("--size", type=positive, default=128, metavar="PX", help="side of a picture's tile (default 128)")
    p.add_argument("--batch-size", type=positive, default=16, help="pictures computed at a time (default 16)")
    add_class(p)
    add_device(p)
    args = p.parse_intermixed_args(argv)

    from tqdm import tqdm

    from progcycle.commands.source_pictures import read_sources
    from progcycle.export import list_snapshots
    from progcycle.export.config import read_config
    from progcycle.export.video import VIDEOS, check_video, write_video

    check_file(args.out, (".png", *VIDEOS))
    is_video = args.out.suffix.lower() != ".png"
    if is_video:
        check_video(args.out, args.fps)
    folders = list_snapshots(args.run)
    configs = [read_config(folder) for folder in folders]
    translates = configs[0].task == "cyclegan"
    _refuse_others(args, translates)
    args.seed, args.direction = args.seed or 0, args.direction or "ab"
    sources = read_sources(configs[-1], args.direction, args.pictures, args.count, args.size) if translates else None
    chosen = sorted({*range(0, len(folders), args.every), len(folders) - 1})
    if not is_video:
        chosen = [chosen[i] for i in spread([configs[i].resolution for i in chosen], args.rows)]
    work = tqdm([folders[i] for i in chosen], unit="snapshot", disable=bars_hidden(), leave=False)
    shown = (_Row(folder, args, sources) for folder in work)
    if is_video:
        write_video(args.out, _frames(shown, args, sources), args.fps)
    else:
        _write_sheet(list(shown), args, sources)
    number = f"{len(chosen)} of {len(folders)}" if len(chosen) < len(folders) else f"{len(folders)}"
    which = f"{args.direction[0].upper()} to {args.direction[1].upper()}" if translates else f"seed {args.seed}"
    say(f"wrote {len(sources or range(args.count))} pictures of {number} snapshots ({which}) to {args.out}")
    return 0


def _refuse_others(args: argparse.Namespace, translates: bool) -> None:
    """Refuse options of the other task, which would change nothing."""
    others = ("seed", "class_name") if translates else ("direction", "pictures")
    for name in others:
        if getattr(args, name) is not None:
            option, needs = name.removesuffix("_name"), "a PG-GAN" if translates else "a CycleGAN"
            raise UserError(f"--{option} is for runs of {needs}, and {args.run} is none; leave it out.")


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

    def __init__(self, folder: Path, args: argparse.Namespace, sources: "Sequence[np.ndarray] | None") -> None:
        self.pictures: list[Image.Image]
        self.classes: list[str] | None = None
        config = self._paint(folder, args) if sources is None else self._translate(folder, args, sources)
        self.words = [f"{config.nimg / 1000:.6g} kimg", f"{config.resolution} px"]
        if config.alpha < 1:
            self.words.append(f"fade {int(100 * config.alpha)}%")

    def _paint(self, folder: Path, args: argparse.Namespace) -> "SnapshotConfig":
        model = load_generator(folder, pick_device(args.device))
        labels = choose_labels(model, args.class_name, args.count)
        latents = model.latents(args.count, args.seed)
        self.pictures = list(paint(model, latents, labels, None, args.batch_size))
        if labels is not None and args.class_name is None:
            self.classes = [model.classes[label] for label in labels]
        return model.config

    def _translate(self, folder: Path, args: argparse.Namespace, sources: "Sequence[np.ndarray]") -> "SnapshotConfig":
        from progcycle.data.pixels import as_image
        from progcycle.export import Translator, load

        model = load(folder, pick_device(args.device))
        if not isinstance(model, Translator):
            raise UserError(f"{folder} holds a PG-GAN, and the run's last snapshot translators; they are of two runs.")
        self.pictures = [as_image(model.translate(levels, args.direction)) for levels in sources]
        return model.config


def _write_sheet(rows: Sequence[_Row], args: argparse.Namespace, sources: "Sequence[np.ndarray] | None") -> None:
    from progcycle.data.pixels import as_image
    from progcycle.export.contact_sheet import sheet

    side = ["\n".join(row.words) for row in rows]
    pictures = [row.pictures for row in rows]
    if sources is not None:
        side, pictures = [args.direction[0].upper(), *side], [[as_image(levels) for levels in sources], *pictures]
    page = sheet(pictures, rows[-1].classes, args.size, side=side)
    with atomic_file(args.out) as file:
        page.save(file)


def _frames(
    rows: Iterable[_Row], args: argparse.Namespace, sources: "Sequence[np.ndarray] | None"
) -> Iterator["Image.Image"]:
    from progcycle.data.pixels import as_image
    from progcycle.export.contact_sheet import sheet

    count = args.count if sources is None else len(sources)
    columns = columns_for(count)
    before = [as_image(levels) for levels in sources or ()]
    for row in rows:
        # Sources, if there are any, above what became of them.
        kinds = [before, row.pictures] if before else [row.pictures]
        lines = [kind[i : i + columns] for i in range(0, count, columns) for kind in kinds]
        frame = sheet(lines, tile=args.size, title=", ".join(row.words))
        yield frame
    for _ in range(round(REST * args.fps)):
        yield frame


main = guarded(run)
