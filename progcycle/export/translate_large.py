"""A large picture, translated from file to file in memory that does not grow with it.

Its pixels go into a temporary file beside the target, as many bytes as they have; the picture is read from there by
tiles or bands of rows, as often as it is needed, and its translation is written as it comes.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from progcycle.data import Levels, decode_reduced
from progcycle.data.bands import Bands, read_bands
from progcycle.data.bit_depth import check_unsigned, check_values
from progcycle.data.levels import DEEP
from progcycle.export.band_files import write_bands
from progcycle.export.jobs import Job
from progcycle.export.metadata import Metadata
from progcycle.export.parts import PixelParts
from progcycle.export.spool import Spool
from progcycle.export.tensor_images import shown
from progcycle.export.translator import Translator, Way
from progcycle.output import bars_hidden

MOST_TILED = 1 << 30  # pixels of a picture that is translated in tiles unasked
PREVIEW = 512  # pixels of the long side of what is shown of it


def translate_large(
    model: Translator,
    file: Path | BinaryIO,
    job: Job,
    way: Way,
    keeps_16: bool,
    max_pixels: int | None,
    on_read: Callable[[int, int], object] = lambda outside, values: None,
) -> tuple[Image.Image, Image.Image]:
    """Translate a picture of any size into a file.

    Args:
        model: the translators.
        file: of the picture.
        job: its name, and the target.
        way: how to translate it.
        keeps_16: whether it has 16 bits, and translators that were trained on 8 keep them.
        max_pixels: of a picture; None for as many as the disk holds.
        on_read: called with the number of its values outside of the window, and of all.

    Returns:
        A few of its pixels before and after, for people.

    Raises:
        UserError: it cannot be read, is too large, or its depth would be lost.
        OSError, ValueError: a library or the disk refuses.
    """
    own, made = model.levels(way.direction)
    if keeps_16:
        own, made = DEEP, DEEP if made.plain else made
    channels = model.channels(way.direction)[0]
    background, metadata = model.config.background(way.direction[0]), Metadata()
    options = {"channels": channels, "background": background}
    with contextlib.ExitStack() as stack:
        with read_bands(
            file,
            **options,  # type: ignore[arg-type]
            levels=own,
            name=job.source.name,
            max_pixels=max_pixels or 1 << 62,
            limit="the limit for pictures in tiles, which --tiles lifts,",
            on_opened=metadata,
        ) as bands:
            size = bands.height, bands.width
            spool = stack.enter_context(Spool.beside(job.target, job.source.name, (*size, channels), own.dtype))
            on_read(_fill(spool, bands, own, keeps_16, job.source.name), size[0] * size[1] * channels)
        reduced = None
        if way.scale != "native" and own.plain:
            read_at = model.read_at(way, *size)
            reduced = decode_reduced(file, size, read_at, name=job.source.name, **options)  # type: ignore[arg-type]
        parts = PixelParts(spool, model.device, reduced)
        step = max(1, max(size) // PREVIEW)
        places = range(0, size[0], step)
        before, after = (
            np.empty((len(places), len(range(0, size[1], step)), count), kind)
            for count, kind in ((channels, own.dtype), (model.channels(way.direction)[1], made.stored))
        )
        for row, place in zip(before, places, strict=True):
            row[:] = spool.read(place, place + 1)[0, ::step]
        write_bands(_values(model, parts, way, made, step, after), *size, metadata, background, job.target)
    return shown(before), shown(made.pixels(after))


def _fill(spool: Spool, bands: Bands, own: Levels, keeps_16: bool, name: str) -> int:
    """Read a picture into its temporary file; the number of its values outside of the window."""
    seen, colour, outside = np.zeros(1 << 16, bool), False, 0
    for top, left, values in bands.parts():
        if keeps_16:
            check_unsigned(values, name)
            seen[values.round().astype(np.int32).reshape(-1)] = True
            colour = values.shape[2] > 1
        outside += own.outside(values)
        spool.write(top, left, own.pixels(values))
    if keeps_16:
        check_values(np.flatnonzero(seen), colour, name)
    return outside


def _values(
    model: Translator, parts: PixelParts, way: Way, made: Levels, step: int, preview: np.ndarray
) -> Iterator[np.ndarray]:
    """The translation as values of files, from top to bottom; every so manyth pixel goes onto the preview too.

    What is kept has its place beforehand: small arrays among large ones that come and go leave holes in memory.
    """
    done = 0
    with tqdm(total=parts.height, unit="row", disable=bars_hidden(), leave=False, position=1) as bar:
        for rows in model.strips(parts, way):
            values = made.values(rows[0].cpu().permute(1, 2, 0).numpy())
            kept, first = values[-done % step :: step, ::step], -(-done // step)
            preview[first : first + len(kept)] = kept
            done += len(values)
            bar.update(len(values))
            yield values
