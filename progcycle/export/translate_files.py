"""Translate a picture, a folder or a zip file into files; a picture that cannot be translated stops no other."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image
from tqdm import tqdm

from progcycle.data import decode_picture, decode_reduced
from progcycle.data.fit import stage_size
from progcycle.data.pixels import as_image
from progcycle.data.source import Entry, Opener
from progcycle.errors import UserError
from progcycle.export.clips import ANIMATIONS, CODECS, is_animated, is_video
from progcycle.export.contact_sheet import sheet
from progcycle.export.jobs import Job, plan_jobs, write_picture
from progcycle.export.metadata import Metadata
from progcycle.export.translate_clip import translate_clip
from progcycle.export.translator import Alpha, Direction, Scale, Translator
from progcycle.output import bars_hidden, warn
from progcycle.recipe import MAX_PIXELS

GRID_PAIRS, THUMBNAIL = 16, 256
# Faults of one picture's name: too long, of letters that the file system lacks, or the name of a folder or file there.
OF_NAMES = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
FOR_NETWORK = 4_194_304  # pixels, 2048 x 2048: about 2 GB of features with 64 maps at the last resolution


@dataclass(frozen=True)
class Translated:
    """What became of the pictures.

    Attributes:
        written: how many were translated.
        existing: how many were skipped because their output was there already.
        faults: a sentence for each picture that could not be translated.
        sheet: file of the before/after sheet, or None.
    """

    written: int
    existing: int
    faults: tuple[str, ...]
    sheet: Path | None


def translate_files(
    model: Translator,
    source: str | Path,
    output: str | Path,
    direction: Direction,
    *,
    scale: Scale | None = None,
    alpha: Alpha = "drop",
    resolution: int | None = None,
    max_pixels: int | None = None,
    skip_existing: bool = False,
    grid: bool = False,
) -> Translated:
    """Translate pictures, animations and a video into files of the same names, see :func:`plan_jobs`.

    Args:
        model: the translators.
        source: a picture or video, a folder (searched recursively) or a zip file.
        output: the file of a single picture, else a folder.
        direction, scale, alpha, resolution: as for :meth:`Translator.translate`.
        max_pixels: of a picture; larger ones are faults. Default: 268,435,456, and with the scale ``native``, where the
            network works on all of them, 4,194,304.
        skip_existing: leave out pictures whose output is there.
        grid: add a before/after sheet of 16 pictures, evenly spread.

    Returns:
        What was written, and what could not be translated.

    Raises:
        UserError: there is nothing to translate, or a picture would be overwritten.
        OSError: the disk refuses.
    """
    model.config.growth_at(resolution)
    chosen = model.choose_scale(scale)
    output = Path(output)
    jobs, remarks = plan_jobs(Path(source), output)
    for remark in remarks:
        warn(remark)
    todo = [job for job in jobs if not (skip_existing and job.target.exists())]
    work = _Work(model, direction, chosen, alpha, resolution, max_pixels, scale is None)
    # Spread over all: neighbours in name order are often alike.
    shown = {i * len(todo) // GRID_PAIRS for i in range(GRID_PAIRS)} if grid else set()
    for i, job in enumerate(tqdm(todo, unit="img", disable=bars_hidden(), leave=False)):
        work.do(job, i in shown)
    page = work.write_sheet(_sheet_path(output, jobs)) if grid else None
    return Translated(len(todo) - len(work.faults), len(jobs) - len(todo), tuple(work.faults), page)


class _Work:
    """Translates one picture after the other, and remembers faults and thumbnails."""

    def __init__(
        self,
        model: Translator,
        direction: Direction,
        scale: Scale,
        alpha: Alpha,
        resolution: int | None,
        max_pixels: int | None,
        by_default: bool,
    ) -> None:
        self.model, self.direction, self.scale, self.alpha, self.resolution = model, direction, scale, alpha, resolution
        self.native = scale == "native"
        self.for_network: int = max_pixels or FOR_NETWORK if self.native else max(max_pixels or 0, FOR_NETWORK)
        self.for_picture: int = max(max_pixels or 0, MAX_PIXELS) if self.native else max_pixels or MAX_PIXELS
        self.opener, self.warned = Opener(), False
        self.warn_of_loss = by_default and scale == "train"
        self.channels = model.channels(direction)[0]
        self.background = model.config.background(direction[0])
        self.side: int = resolution or model.resolution
        self.faults: list[str] = []
        self.pairs: list[list[Image.Image]] = []

    def do(self, job: Job, show: bool) -> None:
        """Translate a picture into its target; what goes wrong with the picture is a fault, not an error.

        Args:
            job: the picture and its target.
            show: whether it goes onto the before/after sheet.
        """
        name = job.source.name
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
            remedy = "use another --scale" if self.native else "make it smaller"
            self.faults.append(f"{name}: there is not enough memory for it; {remedy}, or lower --max-pixels.")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None and error.errno not in OF_NAMES:
                raise  # the disk refuses, not the picture's format: no other picture could be written either
            self.faults.append(f"{name}: {' '.join(str(error).split()).rstrip('.')}.")
        else:
            if show:
                self.pairs.append([_thumbnail(image) for image in pair])

    def _picture(self, file: Path | BinaryIO, job: Job) -> tuple[Image.Image, Image.Image]:
        name = job.source.name
        metadata = Metadata(wants_alpha=self.alpha == "keep")
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
        if not self.native:
            final = self.model.config.final_resolution
            reduced = decode_reduced(file, before, final, channels=self.channels, background=self.background)
        levels = self.model.translate(before, self.direction, self.scale, self.resolution, reduced=reduced)
        write_picture(metadata.apply(levels, self.background), job.target)
        return as_image(before), as_image(levels)

    def _clip(self, file: Path | BinaryIO, job: Job) -> tuple[Image.Image, Image.Image]:
        """Translate every frame; its first frame before and after."""
        return translate_clip(file, job, self._frame, self.for_picture)

    def _frame(self, image: Image.Image, name: str) -> Image.Image:
        self._check_size(name, image.height, image.width)
        return self.model.translate(image, self.direction, self.scale, self.resolution, self.alpha)

    def _open(self, source: Entry) -> Path | BinaryIO:
        try:
            return self.opener.open(source)
        except Exception as error:  # a zip member can fail in many ways: checksum, encryption, compression
            raise UserError(f"{source.name}: this picture cannot be read ({error}).") from None

    def _check_size(self, name: str, height: int, width: int) -> None:
        short, native = min(height, width), self.native
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
        if self.warn_of_loss and short > self.side:
            self.warn_of_loss = False
            warn(
                f"{name} is {width}x{height} px, larger than the {self.side} px of training: detail is lost, because "
                "these translators paint whole pictures, which are enlarged (predict: change keeps detail)."
            )

    def write_sheet(self, path: Path) -> Path | None:
        """Write the before/after sheet, if any picture was translated."""
        if not self.pairs:
            return None
        before, after = (letter.upper() for letter in self.direction)
        across = 1 if len(self.pairs) <= 4 else 2
        starts = range(0, len(self.pairs), across)
        rows = [[image for pair in self.pairs[i : i + across] for image in pair] for i in starts]
        write_picture(sheet(rows, [before, f"{before} to {after}"] * across, THUMBNAIL), path)
        return path


def _thumbnail(image: Image.Image) -> Image.Image:
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image


def _sheet_path(output: Path, jobs: Sequence[Job]) -> Path:
    if not output.is_dir():
        return output.with_name(f"{output.stem}_before_after.png")
    name, taken = "before_after.png", {job.target.name for job in jobs}
    while name in taken:
        name = f"_{name}"
    return output / name
