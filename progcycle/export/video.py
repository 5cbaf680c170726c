"""Moving pictures: animated WebP and GIF with Pillow, MP4 with the extra ``video``."""

import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from progcycle.errors import UserError
from progcycle.files import atomic_file

VIDEOS = (".webp", ".gif", ".mp4")
MAX_FPS = {".webp": 60, ".gif": 50, ".mp4": 60}  # viewers slow down GIFs whose frames are shorter than 2 hundredths


def check_video(path: Path, fps: int) -> None:
    """Check before the work starts that a video can be written.

    Raises:
        UserError: the extension is unknown, its library is missing, or there are too many frames a second for it.
    """
    kind = path.suffix.lower()
    if kind not in VIDEOS:
        raise UserError(f"{path}: a video ends in .webp, .gif or .mp4.")
    if kind == ".mp4" and importlib.util.find_spec("av") is None:
        raise UserError(f"{path}: MP4 needs the extra 'video' (pip install 'progcycle[video]'); or use .webp.")
    if not 1 <= fps <= MAX_FPS[kind]:
        raise UserError(f"{path}: {kind} takes 1 to {MAX_FPS[kind]} frames a second, not {fps}.")


def write_video(path: Path, frames: Iterable[Image.Image], fps: int) -> None:
    """Write a video that repeats for ever (MP4: as the player likes); it appears complete or not at all.

    Args:
        path: ends in ``.webp``, ``.gif`` or ``.mp4``.
        frames: pictures of mode RGB and of one size; at least one. For MP4 they are taken one by one, and odd sides
            grow by a repeated pixel, since the format keeps colours for two by two pixels.
        fps: frames a second.

    Raises:
        UserError: as :func:`check_video`, or there is no encoder.
        OSError: the disk refuses.
    """
    check_video(path, fps)
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".mp4":
            _write_mp4(temporary, iter(frames), fps)
        else:
            _write_animation(temporary, list(frames), fps)


def _write_animation(file: Path, frames: list[Image.Image], fps: int) -> None:
    webp = file.suffix.lower() == ".webp"
    unit = 1 if webp else 10  # milliseconds; a GIF counts in hundredths of a second
    # The ends of the frames are rounded, not their lengths, so that the whole keeps its time.
    ends = [round(1000 / unit * i / fps) * unit for i in range(len(frames) + 1)]
    options: dict[str, Any] = {"quality": 90, "method": 4} if webp else {}
    if not webp:  # a palette for each frame, chosen with more care than by Pillow's own writer
        frames = [quantized(frame) for frame in frames]
    frames[0].save(
        file,
        save_all=True,
        append_images=frames[1:],
        duration=[end - start for start, end in pairwise(ends)],
        loop=0,
        **options,
    )


def _write_mp4(file: Path, frames: Iterator[Image.Image], fps: int) -> None:
    av = importlib.import_module("av")
    if "libx264" not in av.codecs_available:
        raise UserError("The installed av has no encoder of H.264 (libx264), which MP4 needs; use .webp.")
    first = next(frames)
    with av.open(str(file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "16"})
        stream.width, stream.height = (side + side % 2 for side in first.size)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = 6  # the matrix of BT.601, by which the encoder converts, for players to know
        for image in chain([first], frames):
            container.mux(stream.encode(av_frame(av, image)))
        container.mux(stream.encode())


def quantized(image: Image.Image) -> Image.Image:
    """An RGB image with a palette of its own, as a GIF needs it."""
    return image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)


def av_frame(av: Any, image: Image.Image) -> Any:
    """An image as a frame of a video, odd sides grown by a repeated pixel."""
    pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")
