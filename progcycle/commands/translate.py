"""``progcycle translate RUN INPUT OUTPUT``: translate pictures of any size with a trained CycleGAN."""

import argparse
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from progcycle.commands.cli import add_device, guarded, parser, pick_device, positive
from progcycle.errors import UserError, one_line
from progcycle.output import bars_hidden, say, warn

if TYPE_CHECKING:
    from PIL import Image

    from progcycle.data.source import Entry
    from progcycle.export import Translator
    from progcycle.export.jobs import Job

DESCRIPTION = """Translate a picture, or all pictures of a folder or zip file, with a trained CycleGAN.

Pictures may have any size and aspect, and keep it. They also keep their names, sub-folders, formats, colour profile,
EXIF data and dots per inch, as far as the format can hold them; formats without true colour, such as a still GIF,
become NAME.gif.png. Transparent pictures are put on the background colour of training, unless --alpha keep is given.
Animated GIF, WebP and PNG are translated frame by frame. So is a video that is given by name (mp4, mov, mkv, webm: pip
install 'progcycle[video]'); it keeps its sound if the format stays the same."""
EXAMPLES = """examples:
  progcycle translate runs/openmoji photo.jpg translated.png --direction ab
  progcycle translate runs/openmoji photos/ translated/ --direction ba --grid
  progcycle translate runs/openmoji photos/ translated/ --direction ab --scale native --skip-existing
  progcycle translate runs/openmoji walk.mp4 translated.mp4 --direction ab"""
GRID_PAIRS, THUMBNAIL = 16, 256
# Faults of one picture's name: too long, of letters that the file system lacks, or the name of a folder or file there.
OF_NAMES = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
FOR_NETWORK = 4_194_304  # pixels, 2048 x 2048: about 2 GB of features with 64 maps at the last resolution


def _parser() -> argparse.ArgumentParser:
    p = parser("translate", DESCRIPTION, EXAMPLES)
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder (its newest snapshot is used), or a snapshot")
    p.add_argument(
        "input", type=Path, metavar="INPUT", help="a picture or video, a folder (searched recursively) or a zip file"
    )
    p.add_argument("output", type=Path, metavar="OUTPUT", help="folder to write to, or a file for a single picture")
    p.add_argument("--direction", choices=("ab", "ba"), required=True, help="ab turns pictures of A into B, ba back")
    p.add_argument(
        "--scale",
        choices=("detail", "train", "native"),
        help="detail (default where the recipe has predict: change): the change is painted at the scale of training, "
        "enlarged along the picture's edges, and added to the full picture; train (default elsewhere): resized to the "
        "scale of training, translated, and enlarged, so that detail is lost; native: every pixel as it is",
    )
    p.add_argument(
        "--alpha",
        choices=("drop", "keep"),
        default="drop",
        help="transparency: drop (default) writes opaque pictures, keep copies it to the translations",
    )
    p.add_argument("--resolution", type=positive, metavar="R", help="use an earlier stage, by its side in pixels")
    p.add_argument(
        "--max-pixels",
        type=positive,
        metavar="N",
        help="pictures of more pixels are listed and left out (default: 268435456, which take about 6 GB; with --scale "
        f"native, where the network works on all of them, {FOR_NETWORK})",
    )
    p.add_argument("--grid", action="store_true", help=f"add a before/after sheet of {GRID_PAIRS} pictures")
    p.add_argument("--skip-existing", action="store_true", help="skip pictures whose output already exists")
    add_device(p)
    return p


def run(argv: Sequence[str] | None = None) -> int:
    """Translate what can be translated, and list what cannot."""
    args = _parser().parse_intermixed_args(argv)

    from tqdm import tqdm

    from progcycle.export import Translator, load
    from progcycle.export.jobs import plan_jobs

    model = load(args.run, pick_device(args.device))
    if not isinstance(model, Translator):
        raise UserError(f"{args.run} holds a PG-GAN, which paints from nothing; use progcycle generate.")
    model.config.growth_at(args.resolution)
    asked, args.scale = args.scale, model.choose_scale(args.scale)
    jobs, remarks = plan_jobs(args.input, args.output)
    for remark in remarks:
        warn(remark)
    todo = [job for job in jobs if not (args.skip_existing and job.target.exists())]
    work = _Work(model, args, loss_is_news=asked is None and args.scale == "train")
    # Spread over all: neighbours in name order are often alike.
    shown = {i * len(todo) // GRID_PAIRS for i in range(GRID_PAIRS)} if args.grid else set()
    for i, job in enumerate(tqdm(todo, unit="img", disable=bars_hidden(), leave=False)):
        work.do(job, i in shown)
    sheet = work.write_sheet(_sheet_path(args.output, jobs)) if args.grid else None
    return _report(args, len(jobs) - len(todo), len(todo) - len(work.faults), work.faults, sheet)


class _Work:
    """Translates one picture after the other, and remembers faults and thumbnails."""

    def __init__(self, model: "Translator", args: argparse.Namespace, loss_is_news: bool) -> None:
        from progcycle.data.source import Opener
        from progcycle.recipe import MAX_PIXELS

        self.model, self.args = model, args
        asked, native = args.max_pixels, args.scale == "native"
        self.for_network: int = asked or FOR_NETWORK if native else max(asked or 0, FOR_NETWORK)
        self.for_picture: int = max(asked or 0, MAX_PIXELS) if native else asked or MAX_PIXELS
        self.opener, self.warned = Opener(), False
        self.loss_is_news = loss_is_news
        self.channels = model.channels(args.direction)[0]
        self.background = model.config.background(args.direction[0])
        self.side: int = args.resolution or model.resolution
        self.faults: list[str] = []
        self.pairs: list[list[Image.Image]] = []

    def do(self, job: "Job", show: bool) -> None:
        """Translate a picture into its target; what goes wrong with the picture is a fault, not an error.

        Args:
            job: the picture and its target.
            show: whether it goes onto the before/after sheet.
        """
        from progcycle.export.clips import ANIMATIONS, CODECS, is_animated, is_video

        name, args = job.source.name, self.args
        kind = job.target.suffix.lower()
        try:
            file = self._open(job.source)
            moving = is_video(Path(name)) or (kind in (*ANIMATIONS, *CODECS) and is_animated(file))
            pair = self._clip(file, job) if moving else self._picture(file, job)
        except UserError as error:
            self.faults.append(str(error))
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            remedy = "use another --scale" if args.scale == "native" else "make it smaller"
            self.faults.append(f"{name}: there is not enough memory for it; {remedy}, or lower --max-pixels.")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None and error.errno not in OF_NAMES:
                raise  # the disk refuses, not the picture's format: no other picture could be written either
            self.faults.append(f"{name}: {' '.join(str(error).split()).rstrip('.')}.")
        else:
            if show:
                self.pairs.append([_thumbnail(image) for image in pair])

    def _picture(self, file: "Path | BinaryIO", job: "Job") -> "tuple[Image.Image, Image.Image]":
        from progcycle.data import decode_picture, decode_reduced
        from progcycle.data.pixels import as_image
        from progcycle.export.jobs import write_picture
        from progcycle.export.metadata import Metadata

        name, args = job.source.name, self.args
        metadata = Metadata(wants_alpha=args.alpha == "keep")
        before = decode_picture(
            file,
            channels=self.channels,
            background=self.background,
            name=name,
            max_pixels=self.for_picture,
            limit="--max-pixels",
            on_decoded=metadata,
        )
        self._check_size(name, *before.shape[:2])
        reduced = None
        if args.scale != "native":
            final = self.model.config.final_resolution
            reduced = decode_reduced(file, before, final, channels=self.channels, background=self.background)
        levels = self.model.translate(before, args.direction, args.scale, args.resolution, reduced=reduced)
        write_picture(metadata.apply(levels, self.background), job.target)
        return as_image(before), as_image(levels)

    def _clip(self, file: "Path | BinaryIO", job: "Job") -> "tuple[Image.Image, Image.Image]":
        """Translate every frame; its first frame before and after."""
        from progcycle.commands.clip import translate_clip

        return translate_clip(file, job, self._frame, self.for_picture)

    def _frame(self, image: "Image.Image", name: str) -> "Image.Image":
        args = self.args
        self._check_size(name, image.height, image.width)
        return self.model.translate(image, args.direction, args.scale, args.resolution, args.alpha)

    def _open(self, source: "Entry") -> "Path | BinaryIO":
        try:
            return self.opener.open(source)
        except Exception as error:  # a zip member can fail in many ways: checksum, encryption, compression
            raise UserError(f"{source.name}: this picture cannot be read ({error}).") from None

    def _check_size(self, name: str, height: int, width: int) -> None:
        from progcycle.data.fit import stage_size

        short, native = min(height, width), self.args.scale == "native"
        h, w = (height, width) if native else stage_size(height, width, self.side)
        if h * w > self.for_network:
            remedy = "use another --scale, or raise --max-pixels" if native else "cut it up, or raise --max-pixels"
            raise UserError(
                f"{name}: {w}x{h} px for the network are more than --max-pixels {self.for_network}; {remedy}."
            )
        if native and not self.warned and not self.side / 2 < short < 2 * self.side:
            self.warned = True
            warn(
                f"warning: {name} is {width}x{height} px, but training worked at {self.side} px; with --scale native "
                "its contents have another size than in training, and may hardly change."
            )
        if self.loss_is_news and short > self.side:
            self.loss_is_news = False
            warn(
                f"{name} is {width}x{height} px, larger than the {self.side} px of training: detail is lost, because "
                "these translators paint whole pictures, which are enlarged (predict: change keeps detail)."
            )

    def write_sheet(self, path: Path) -> Path | None:
        """Write the before/after sheet, if any picture was translated."""
        from progcycle.export.contact_sheet import sheet
        from progcycle.export.jobs import write_picture

        if not self.pairs:
            return None
        before, after = self.args.direction.upper()
        beside = 1 if len(self.pairs) <= 4 else 2
        starts = range(0, len(self.pairs), beside)
        rows = [[image for pair in self.pairs[i : i + beside] for image in pair] for i in starts]
        write_picture(sheet(rows, [before, f"{before} to {after}"] * beside, THUMBNAIL), path)
        return path


def _thumbnail(image: "Image.Image") -> "Image.Image":
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image


def _sheet_path(output: Path, jobs: Sequence["Job"]) -> Path:
    if not output.is_dir():
        return output.with_name(f"{output.stem}_before_after.png")
    name, taken = "before_after.png", {job.target.name for job in jobs}
    while name in taken:
        name = f"_{name}"
    return output / name


def _report(args: argparse.Namespace, skipped: int, done: int, faults: list[str], sheet: Path | None) -> int:
    if faults:
        warn(f"{len(faults)} of {done + len(faults)} pictures were not translated:")
        for fault in faults:
            warn(f"  {one_line(fault)}")
    already = f" ({skipped} existed already)" if skipped else ""
    say(f"wrote {done} translated picture{'s' * (done != 1)}{already} to {args.output}")
    if sheet is not None:
        say(f"wrote {sheet}")
    return 1 if faults else 0


main = guarded(run)
