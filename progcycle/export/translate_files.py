"""Translate a picture, a folder or a zip file into files; a picture that cannot be translated stops no other."""

import errno
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from progcycle.data import decode_picture, decode_reduced
from progcycle.data.bands import size_of
from progcycle.data.bit_depth import check_unsigned, check_values
from progcycle.data.decode import depth_of, parse_colour
from progcycle.data.fit import stage_size
from progcycle.data.levels import DEEP
from progcycle.data.scale import load_side
from progcycle.data.source import Entry, Opener
from progcycle.data.values import Stored, as_wanted
from progcycle.data.volumes import is_volume
from progcycle.errors import UserError
from progcycle.export.clips import ANIMATIONS, CODECS, is_animated, is_video
from progcycle.export.contact_sheet import sheet
from progcycle.export.jobs import Job, plan_jobs, with_suffixes, write_picture
from progcycle.export.metadata import Metadata
from progcycle.export.seeded import Seeded, for_series
from progcycle.export.tensor_images import shown
from progcycle.export.tiles import SIDE, Seams
from progcycle.export.translate_clip import translate_clip
from progcycle.export.translate_large import MOST_TILED, translate_large
from progcycle.export.translate_volume import translate_volume
from progcycle.export.translator import WITHOUT_TILES, Alpha, Direction, Scale, Translator, Way
from progcycle.export.value_files import endings, write_values
from progcycle.output import bars_hidden, warn
from progcycle.recipe import MAX_PIXELS
from progcycle.resolution import Resolution

GRID_PAIRS, THUMBNAIL = 16, 256
# Faults of one picture's name: too long, of letters that the file system lacks, or the name of a folder or file there.
OF_NAMES = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
NOTICED = 0.01  # of the values of a picture: more than this outside of the window is said
FOR_NETWORK = 4_194_304  # pixels, 2048 x 2048: about 2 GB of features with 64 maps at the last resolution
FOR_MEMORY = 67_108_864  # pixels, 8192 x 8192: about 1.5 GB for a picture that is held in memory


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
    seeds: Sequence[int] = (),
    like: Sequence[str | Path] = (),
    side: int | None = None,
    tiles: bool | int = False,
    overlap: int | None = None,
) -> Translated:
    """Translate pictures, animations and a video into files of the same names, see :func:`plan_jobs`.

    Args:
        model: the translators.
        source: a picture or video, a folder (searched recursively) or a zip file.
        output: the file of a single picture, else a folder.
        direction, scale, alpha, resolution: as for :meth:`Translator.translate`.
        max_pixels: of a picture that is translated all at once; larger ones are translated in tiles, up to
            1,073,741,824 pixels. Default: 67,108,864, and with the scale ``native``, where the network works on all of
            them, 4,194,304. Those of which transparency is kept are never translated in tiles: up to 268,435,456.
        skip_existing: leave out pictures whose output is there.
        grid: add a before/after sheet of 16 pictures, evenly spread.
        seeds: of translators with latents: a translation of each picture for each seed, which the names of the files
            tell if there are several.
        like: in place of seeds, pictures of the domain that is translated to: a translation with the latents of each
            (:meth:`Translator.latents_like`).
        side: as for :meth:`Translator.translate`.
        tiles: translate all pictures in tiles, of any size. Memory then does not grow with them: a tile, or a band of
            rows, at a time. A number is the side of what the network sees at a time, in pixels.
        overlap: pixels by which those overlap; with ``tiles`` only.

    Returns:
        What was written, and what could not be translated.

    Raises:
        UserError: there is nothing to translate, a picture would be overwritten, translators without latents are
            given seeds or pictures to be like, one of these cannot be read, or options do not go together.
        OSError: the disk refuses.
    """
    model.config.growth_at(resolution)
    chosen, used, share = model.at_training(direction, scale, resolution, side)
    way = Way(direction, chosen, resolution, side=used, share=share)
    _check_tiles(way, tiles, overlap, alpha)
    if scale != "native" and side is None and (words := _scale_words(model, way)):
        warn(words)
    variants = _variants(model, direction, seeds, like)
    output = Path(output)
    fitting = endings(model.levels(direction)[1], model.channels(direction)[1])
    jobs, remarks = plan_jobs(Path(source), output, fitting)
    for remark in remarks:
        warn(remark)
    wanted = with_suffixes(jobs, [variant.suffix for variant in variants])
    existing = {job.target for some in wanted for job in some if skip_existing and job.target.exists()}
    todo = [some for some in wanted if any(job.target not in existing for job in some)]
    limits = _Limits(chosen == "native", max_pixels, tiles, overlap, alpha == "keep")
    work = _Work(model, way, alpha, limits, scale is None, variants, existing)
    # Spread over all: neighbours in name order are often alike.
    shown = {i * len(todo) // GRID_PAIRS for i in range(GRID_PAIRS)} if grid else set()
    for i, some in enumerate(tqdm(todo, unit="img", disable=bars_hidden(), leave=False)):
        work.do(some, i in shown)
    page = work.write_sheet(_sheet_path(output, [job for some in wanted for job in some])) if grid else None
    return Translated(work.written, len(existing), tuple(work.faults), page)


@dataclass(frozen=True)
class Variant:
    """One of several translations of the same picture.

    Attributes:
        suffix: of the files' names, where there are several.
        label: above its column on the sheet.
        latents: that it is painted from; None for translators without.  # [1, latent_size]
        like: the picture that it is to be like.
    """

    suffix: str
    label: str
    latents: Tensor | Seeded | None = None
    like: Path | None = None


def _variants(
    model: Translator, direction: Direction, seeds: Sequence[int], like: Sequence[str | Path]
) -> list[Variant]:
    """The translations that are asked for of every picture, at least one.

    Raises:
        UserError: both kinds, translators without latents, or a picture that cannot be read.
    """
    if seeds and like:
        raise UserError("Translations are either those of seeds or like given pictures; leave out one of the two.")
    if like:
        stems = [Path(path).stem for path in like]
        if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
            raise UserError(f"Two pictures to be like are called {twice}, which names of files cannot tell.")
        rows = model.latents_like(like, direction)
        made = zip(stems, rows[:, None], map(Path, like), strict=True)
        return [Variant(f"like_{stem}", f"like {stem}", row, path) for stem, row, path in made]
    if not seeds and not model.latent_size(direction):
        return [Variant("", "")]
    return [Variant(f"seed{seed}", f"seed {seed}", model.seeded(direction, seed)) for seed in seeds or (0,)]


def _scale_words(model: Translator, way: Way) -> str:
    """A sentence about the scale at which pictures are translated, if training loaded them at another size."""
    options, final = model.config.pictures(way.direction[0]), model.config.final_resolution
    trained, tested = load_side(options, final), model.config.test_side(way.direction[0])
    if tested is None:
        how = "" if way.share in (None, 1) else f", reduced to {way.share:.3g} of it at this stage"
        return f"these translators were trained on parts of pictures at their own size, and work at that size{how}"
    if tested != final:
        return (
            f"these translators were trained on parts of pictures whose short side has {tested} px, so that the "
            "network works at that size"
        )
    if trained == final:
        return ""
    return (
        f"these translators were trained on crops of {final} px of pictures of {trained} px; the network works on "
        f"whole ones of {final} px, in which everything is {(trained or final) / final:.3g} times smaller"
    )


def _check_tiles(way: Way, tiles: bool | int, overlap: int | None, alpha: Alpha) -> None:
    """Refuse what does not go with tiles.

    Raises:
        UserError: an overlap without tiles, tiles of a size where the network sees the whole picture, or transparency.
    """
    if overlap is not None and not tiles:
        raise UserError("--overlap is one of tiles; give --tiles too, or leave it out.")
    whole = way.scale != "native" and way.side is way.share is None
    if whole and (overlap is not None or tiles not in (False, True)):
        raise UserError(WITHOUT_TILES.format(scale=way.scale))
    if tiles and alpha == "keep":
        raise UserError("--alpha keep holds the transparency of a whole picture in memory; leave it or --tiles out.")


@dataclass(frozen=True)
class _Limits:
    """Which pictures are translated in tiles, and which not at all.

    Attributes:
        native: whether the network works on every pixel.
        max_pixels: of a picture at once, or None.
        tiles: whether all are translated in tiles, or of which side.
        overlap: of tiles.
        whole: whether none is.
    """

    native: bool
    max_pixels: int | None
    tiles: bool | int
    overlap: int | None
    whole: bool

    @property
    def for_network(self) -> int:
        """Pixels that the network works on at a time."""
        return self.max_pixels or FOR_NETWORK if self.native else max(self.max_pixels or 0, FOR_NETWORK)

    @property
    def for_picture(self) -> int:
        """Pixels of a picture that is held in memory."""
        return max(self.max_pixels or 0, MAX_PIXELS) if self.native else self.max_pixels or MAX_PIXELS

    def in_tiles(self, size: tuple[int, int] | None) -> bool:
        """Whether a picture of such a height and width is translated in tiles."""
        if self.tiles:
            return True
        at_once = self.max_pixels or (FOR_NETWORK if self.native else FOR_MEMORY)
        return not self.whole and size is not None and size[0] * size[1] > at_once

    @property
    def tile(self) -> int | None:
        """The side of a tile that is asked for."""
        return None if self.tiles in (False, True) else int(self.tiles)


class _Work:
    """Translates one picture after the other, and remembers faults and thumbnails."""

    def __init__(
        self,
        model: Translator,
        way: Way,
        alpha: Alpha,
        limits: _Limits,
        by_default: bool,
        variants: Sequence[Variant],
        existing: Collection[Path],
    ) -> None:
        self.model, self.way, self.alpha, self.limits = model, way, alpha, limits
        self.direction, self.scale, self.resolution = way.direction, way.scale, way.resolution
        self.native = way.scale == "native"
        self.opener, self.warned, self.told_outside = Opener(), False, False
        self.warn_of_loss = by_default and self.scale == "train"
        self.channels = model.channels(self.direction)[0]
        self.own, self.made = model.levels(self.direction)
        self.background = model.config.background(self.direction[0])
        trained, loaded = model.config.growth_at(self.resolution).resolution, model.config.test_side(self.direction[0])
        # The size of pictures as training saw them; None of any.
        self.at: Resolution | None = None
        if loaded is not None:
            self.at = loaded.scaled(int(loaded) * int(trained) // int(model.config.final_resolution))
        self.variants, self.existing = variants, existing
        self.written = 0
        self.faults: list[str] = []
        self.rows: list[list[Image.Image]] = []  # a picture and its translations

    def do(self, jobs: Sequence[Job], show: bool) -> None:
        """Translate a picture into its targets; what goes wrong with the picture is a fault, not an error.

        Args:
            jobs: the picture and its target, for each variant. Those of ``existing`` are left out.
            show: whether it goes onto the before/after sheet.
        """
        name = jobs[0].source.name
        kind = jobs[0].target.suffix.lower()
        row: list[Image.Image] = []
        try:
            moving = is_video(Path(name)) or (
                kind in (*ANIMATIONS, *CODECS) and is_animated(self._open(jobs[0].source))
            )
            for job, variant in zip(jobs, self.variants, strict=True):
                if job.target in self.existing:
                    continue
                file = self._open(job.source)
                make = self._volume if is_volume(name) else self._clip if moving else self._picture
                before, after = make(file, job, variant.latents)
                self.written += 1
                row = [*(row or [before]), after]
        except UserError as error:
            self.faults.append(str(error))
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            self.faults.append(f"{name}: there is not enough memory for it; give --tiles, of a small size.")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None and error.errno not in OF_NAMES:
                raise  # the disk refuses, not the picture's format: no other picture could be written either
            self.faults.append(f"{name}: {' '.join(str(error).split()).rstrip('.')}.")
        else:
            if show and len(row) == 1 + len(jobs):
                self.rows.append([_thumbnail(image) for image in row])

    def _picture(
        self, file: Path | BinaryIO, job: Job, latents: Tensor | Seeded | None
    ) -> tuple[Image.Image, Image.Image]:
        name, size = job.source.name, size_of(file)
        kept = self.own.plain and depth_of(file) == 16  # what 8 bits are trained on can be changed in all its depth
        if self.limits.in_tiles(size):
            return self._large(file, job, latents, kept, size)
        metadata = Metadata(wants_alpha=self.alpha == "keep")
        own = DEEP if kept else self.own
        before = decode_picture(
            file,
            channels=self.channels,
            background=self.background,
            name=name,
            max_pixels=self.limits.for_picture,
            limit="--max-pixels",
            on_decoded=metadata,
            levels=own,
            values=True,
        )
        if kept:
            check_unsigned(before, name)
            check_values(before.round().astype(np.int32), before.shape[2] > 1, name)
            before = own.pixels(before)
        else:
            self._tell_outside(name, own.outside(before), before.size)
        self._check_size(name, *before.shape[:2])
        reduced = None
        if not self.native and own.plain:
            size = before.shape[:2]
            read_at = self.model.read_at(self.way, *size)
            options = {"channels": self.channels, "background": self.background, "name": name}
            reduced = decode_reduced(file, size, read_at, **options)  # type: ignore[arg-type]
        values = self._translate(before, latents, reduced)
        write_values(values, metadata, self.background, job.target)
        made = DEEP if kept and self.made.plain else self.made
        return shown(own.pixels(before)), shown(made.pixels(values))

    def _translate(
        self, values: np.ndarray, latents: Tensor | Seeded | None, reduced: np.ndarray | None = None
    ) -> np.ndarray:
        """Values in memory to their translation; the network may work in tiles."""
        return self.model.translate(
            values,
            self.direction,
            self.scale,
            self.resolution,
            reduced=reduced,
            latents=latents,
            side=self.way.side,
            tiles=self._tiles_in_memory(*values.shape[:2]),
            overlap=self.limits.overlap,
        )

    def _tiles_in_memory(self, height: int, width: int) -> bool | int:
        """Whether the network works in tiles on a picture that is in memory, or of which side."""
        if self.limits.tiles:
            return self.limits.tiles if self.native or self.way.side or self.way.share else False
        return self.native and not self.limits.whole and height * width > self.limits.for_network

    def _large(
        self, file: Path | BinaryIO, job: Job, latents: Tensor | Seeded | None, kept: bool, size: tuple[int, int] | None
    ) -> tuple[Image.Image, Image.Image]:
        """Translate a picture in tiles, or in bands of rows where the network sees it reduced."""
        name, model = job.source.name, self.model
        if size is not None:
            self._check_size(name, *size, tiled=True)
        tiling = None
        side = int(model.works_at(self.way, *size)) if size is not None else self.way.side or 0
        if self.native or side > SIDE or self.limits.tile is not None:
            tiling = model.tiling(self.direction, self.resolution, self.limits.tile, self.limits.overlap)
        way = replace(self.way, latents=latents, tiling=tiling, seams=Seams())
        most = None if self.limits.tiles else MOST_TILED
        shown = translate_large(model, file, job, way, kept, most, partial(self._tell_outside, name))
        if way.seams.compared:
            warn(model.describe_seams(name, way))
        return shown

    def _clip(
        self, file: Path | BinaryIO, job: Job, latents: Tensor | Seeded | None
    ) -> tuple[Image.Image, Image.Image]:
        """Translate every frame, all with the same latents; its first frame before and after."""
        if self.made.stored != np.uint8 or self.model.channels(self.direction)[1] not in (1, 3):
            raise UserError(
                f"{job.source.name}: clips have 8 bits, grey or RGB, and these translators make pictures of "
                f"{self.made.words}; translate its frames as pictures."
            )
        series = for_series(latents)
        return translate_clip(file, job, partial(self._frame, latents=series), self.limits.for_picture)

    def _volume(
        self, file: Path | BinaryIO, job: Job, latents: Tensor | Seeded | None
    ) -> tuple[Image.Image, Image.Image]:
        """Translate every slice, all with the same latents; the middle one before and after."""

        outside = total = 0
        series = for_series(latents)

        def change(stored: Stored, name: str) -> tuple[np.ndarray, np.ndarray]:
            nonlocal outside, total
            values = as_wanted(stored, self.channels, self.own, parse_colour(self.background), name)
            outside, total = outside + self.own.outside(values), total + values.size
            self._check_size(name, *values.shape[:2])
            return values, self._translate(values, series)

        options = self.model.config.pictures(self.direction[0]).volumes
        before, after = translate_volume(file, job, options, change, self.made.low)
        self._tell_outside(job.source.name, outside, total)
        return shown(self.own.pixels(before)), shown(self.made.pixels(after))

    def _tell_outside(self, name: str, outside: int, total: int) -> None:
        """Say of the first picture whose values are cut off in number that they are."""
        if self.told_outside or outside <= NOTICED * total:
            return
        self.told_outside = True
        warn(
            f"{name}: {outside / total:.0%} of its values lie outside of {self.own.low:g} to {self.own.high:g}, the "
            f"window of {self.direction[0].upper()} in training, and are cut off there; if that is not meant, bring "
            "its values to the scale of the pictures of training."
        )

    def _frame(self, image: Image.Image, name: str, latents: Tensor | Seeded | None) -> Image.Image:
        self._check_size(name, image.height, image.width)
        return self.model.translate(
            image,
            self.direction,
            self.scale,
            self.resolution,
            self.alpha,
            latents=latents,
            side=self.way.side,
            tiles=self._tiles_in_memory(image.height, image.width),
            overlap=self.limits.overlap,
        )

    def _open(self, source: Entry) -> Path | BinaryIO:
        try:
            return self.opener.open(source)
        except Exception as error:  # a zip member can fail in many ways: checksum, encryption, compression
            raise UserError(f"{source.name}: this picture cannot be read ({error}).") from None

    def _check_size(self, name: str, height: int, width: int, tiled: bool = False) -> None:
        native = self.native
        h, w = (height, width)
        if not native:
            h, w = stage_size(height, width, self.model.works_at(self.way, height, width))
        tiled = native and (tiled or bool(self._tiles_in_memory(height, width)))
        if h * w > self.limits.for_network and not tiled:
            remedy = "cut it up, or raise --max-pixels"
            if native:
                remedy = "leave --alpha keep out, use another --scale, or raise --max-pixels"
            elif self.way.side is not None:
                remedy = "give a smaller --side"
            raise UserError(
                f"{name}: {w}x{h} px for the network are more than --max-pixels {self.limits.for_network}; {remedy}."
            )
        if native and self.at is not None and not self.warned and not 1 / 2 < _times(height, width, self.at) < 2:
            self.warned = True
            warn(
                f"warning: {name} is {width}x{height} px, but training worked at {self.at.words}; with --scale native "
                "its contents have another size than in training, and may hardly change."
            )
        if self.warn_of_loss and _times(height, width, at := self.model.works_at(self.way, height, width)) > 1:
            self.warn_of_loss = False
            warn(
                f"{name} is {width}x{height} px, larger than the {at.words} of training: detail is lost, because "
                "these translators paint whole pictures, which are enlarged (predict: change keeps detail)."
            )

    def write_sheet(self, path: Path) -> Path | None:
        """Write the before/after sheet, if any picture was translated."""
        if not self.rows:
            return None
        before, after = (letter.upper() for letter in self.direction)
        several = len(self.variants) > 1
        header = [before, *([variant.label for variant in self.variants] if several else [f"{before} to {after}"])]
        across = 1 if several or len(self.rows) <= 4 else 2
        starts = range(0, len(self.rows), across)
        rows = [[image for row in self.rows[i : i + across] for image in row] for i in starts]
        if several and (paths := [variant.like for variant in self.variants if variant.like is not None]):
            options: dict[str, Any] = {"channels": self.model.channels(self.direction)[1], "levels": self.made}
            options["background"] = self.model.config.background(self.direction[1])
            like = [_thumbnail(shown(decode_picture(path, **options))) for path in paths]
            rows.insert(0, [Image.new("RGB", like[0].size, "white"), *like])
        write_picture(sheet(rows, header * across, THUMBNAIL), path)
        return path


def _times(height: int, width: int, size: Resolution) -> float:
    """How many times larger than a size a picture is that covers it."""
    return min(height / size.height, width / size.width)


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
