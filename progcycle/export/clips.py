"""Moving pictures, frame by frame: animated GIF, WebP and PNG by Pillow, videos with the extra ``video``.

Frames keep their times. Videos are read and written one frame at a time, and keep their sound where the kind of file
stays the same; the frames of an animation are held in memory, since Pillow writes them together.
"""

import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from progcycle.data.limit import pixel_limit
from progcycle.errors import UserError
from progcycle.export.video import av_frame, quantized
from progcycle.files import atomic_file

ANIMATIONS = (".gif", ".webp", ".png")
CODECS = {".mp4": "libx264", ".m4v": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
VIDEOS = (*CODECS, ".avi", ".mpg", ".mpeg")
SHORTEST, UNTIMED = Fraction(10, 1000), Fraction(100, 1000)  # seconds
NEEDS_AV = "videos need the extra 'video' (pip install 'progcycle[video]'), or make it an animated GIF or WebP first"


@dataclass(frozen=True)
class Frame:
    """A picture of a clip, and when it is shown, in seconds."""

    image: Image.Image
    start: Fraction
    length: Fraction


def is_video(path: Path) -> bool:
    """Whether the name is that of a video."""
    return path.suffix.lower() in VIDEOS


def check_av(path: Path) -> None:
    """Check before the work starts that a video can be read or written.

    Raises:
        UserError: the library is missing.
    """
    if is_video(path) and importlib.util.find_spec("av") is None:
        raise UserError(f"{path}: {NEEDS_AV}.")


def is_animated(file: Path | BinaryIO) -> bool:
    """Whether a file is a GIF, WebP or PNG of several frames; a stream is left at its beginning."""
    try:
        with pixel_limit(None), Image.open(file, formats=("GIF", "WEBP", "PNG")) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # the error is reported when its pixels are read
        return False
    finally:
        if not isinstance(file, Path):
            file.seek(0)


def loop_count(file: Path | BinaryIO) -> int | None:
    """How often an animation is shown, as its format counts it, or None; a stream is left at its beginning."""
    with pixel_limit(None), Image.open(file, formats=("GIF", "WEBP", "PNG")) as image:
        loop = image.info.get("loop")
    if not isinstance(file, Path):
        file.seek(0)
    return loop if isinstance(loop, int) else None


def with_viewer_times(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Frames with the times at which viewers show them: browsers show frames of 10 ms or less for 100 ms."""
    start = Fraction(0)
    for frame in frames:
        length = frame.length if frame.length > SHORTEST else UNTIMED
        yield replace(frame, start=start, length=length)
        start += length


def read_animation(file: Path | BinaryIO, name: str, max_pixels: int) -> Iterator[Frame]:
    """The frames of an animated GIF, WebP or PNG, as a viewer shows them; all have the size of the first.

    Args:
        file: path or stream.
        name: what errors call it.
        max_pixels: of all frames together.

    Raises:
        UserError: it is larger, or cannot be read.
    """
    start = Fraction(0)
    try:
        with pixel_limit(max_pixels):
            opened = Image.open(file, formats=("GIF", "WEBP", "PNG"))
        with opened as image:
            count: int = getattr(image, "n_frames", 1)
            width, height = image.size
            size = f"{count} frames of {width}x{height} px"
            if count * width * height > max_pixels:
                raise UserError(f"{name}: {size} are more than --max-pixels {max_pixels}; raise that, or give a video.")
            apart = bool(getattr(image, "default_image", False))  # a PNG's, for viewers that know no animations
            for i in range(apart, count):
                with pixel_limit(max_pixels):  # a frame of a GIF may be larger than what is shown
                    image.seek(i)
                    image.load()
                length = Fraction(round(float(image.info.get("duration", 0))), 1000)
                yield Frame(image.crop((0, 0, width, height)), start, length)
                start += length
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise UserError(f"{name}: this animation cannot be read ({' '.join(str(error).split())}).") from None


def write_animation(target: Path, frames: Iterable[Frame], loop: int | None = 0) -> int:
    """Write an animated GIF, WebP or PNG; it appears complete or not at all.

    Args:
        target: ends in one of ``ANIMATIONS``.
        frames: at least one, of one size.
        loop: how often it is shown, as the format counts it; 0 is for ever, None is once in a GIF.

    Returns:
        How many frames there are.

    Raises:
        UserError: there is no frame, or the format cannot hold them, such as a WebP of more than 16,383 pixels a side.
    """
    shown = list(frames)
    if not shown:
        raise UserError(f"{target.name}: there is no frame to write.")
    kind = target.suffix.lower()
    images = [frame.image for frame in shown]
    clear = any(image.mode in ("LA", "RGBA") for image in images)
    images = [image.convert("RGBA" if clear else "RGB") for image in images]
    if kind == ".gif" and not clear:
        images = [quantized(image) for image in images]
    # The ends are rounded, not the lengths, so that the whole keeps its time; a GIF counts hundredths of a second.
    unit = 10 if kind == ".gif" else 1
    ends = [
        round(1000 * moment / unit) * unit for moment in (*(f.start for f in shown), shown[-1].start + shown[-1].length)
    ]
    options: dict[str, Any] = {".webp": {"lossless": True}, ".gif": {"disposal": 2 if clear else 0}}
    if loop is not None:
        options.setdefault(kind, {})["loop"] = loop
    lengths = [end - start for start, end in pairwise(ends)]
    with atomic_file(target) as temporary:
        try:
            images[0].save(
                temporary, save_all=True, append_images=images[1:], duration=lengths, **options.get(kind, {})
            )
        except RuntimeError as error:  # of Pillow's WebP
            raise UserError(f"{target.name}: {kind} cannot hold this animation ({str(error).rstrip('.')}).") from None
    return len(shown)


class Video:
    """A video that is open for reading.

    Args:
        file: path or stream.
        name: what errors call it.

    Raises:
        UserError: it cannot be read, holds no moving picture, or the library is missing.
    """

    def __init__(self, file: Path | BinaryIO, name: str) -> None:
        check_av(Path(name))
        self.av, self.name = importlib.import_module("av"), name
        try:
            self.container = self.av.open(str(file) if isinstance(file, Path) else file)
        except Exception as error:
            raise self._unreadable(error) from None
        if not self.container.streams.video:
            raise UserError(f"{name}: there is no moving picture in this file.")
        self.stream = self.container.streams.video[0]
        self.audio = next(iter(self.container.streams.audio), None)
        self.rate = Fraction(self.stream.average_rate or 25)
        self.time_base = Fraction(self.stream.time_base or 1 / self.rate)

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def _unreadable(self, error: Exception) -> UserError:
        reason = " ".join(str(error).split()).rstrip(".")
        return UserError(f"{self.name}: this video cannot be read ({reason}).")

    def frames_and_audio(self) -> Iterator[Any]:
        """Frames, and between them packets of sound, in the order of the file.

        Raises:
            UserError: the file is damaged.
        """
        i = 0
        wanted = [stream for stream in (self.stream, self.audio) if stream is not None]
        try:
            for packet in self.container.demux(wanted):
                if packet.stream is self.audio or packet.stream.type == "audio":
                    if packet.dts is not None:
                        yield packet
                    continue
                for frame in packet.decode():
                    start = Fraction(i) / self.rate if frame.pts is None else frame.pts * self.time_base
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
                    length = (frame.duration or 0) * self.time_base or 1 / self.rate
                    yield Frame(Image.fromarray(np.ascontiguousarray(pixels)), start, length)
                    i += 1
        except self.av.error.FFmpegError as error:
            raise self._unreadable(error) from None

    def frames(self) -> Iterator[Frame]:
        """The frames alone."""
        return (part for part in self.frames_and_audio() if isinstance(part, Frame))


def write_video(
    target: Path, parts: Iterable[Any], rate: Fraction, time_base: Fraction, audio: Any | None = None
) -> int:
    """Write a video; it appears complete or not at all.

    Args:
        target: ends in one of ``CODECS``. Odd sides grow by a repeated pixel, since colours are kept for two by two.
        parts: frames of one size, at least one; and packets of ``audio``, which are copied.
        rate: frames a second, about.
        time_base: unit of time.
        audio: stream that the packets come from.

    Returns:
        How many frames there are.

    Raises:
        UserError: there is no encoder.
    """
    av = importlib.import_module("av")
    codec, mp4 = CODECS[target.suffix.lower()], target.suffix.lower() in (".mp4", ".m4v", ".mov")
    if codec not in av.codecs_available:
        raise UserError(f"{target}: the installed av has no encoder {codec}; use .webp or .gif.")
    options = {"crf": "16"} if codec == "libx264" else {"crf": "24", "b": "0"}
    count, stream = 0, None
    with atomic_file(target) as temporary, ExitStack() as stack:
        container = stack.enter_context(av.open(str(temporary), "w", options={"movflags": "faststart"} if mp4 else {}))
        sound, early = None, list[Any]()
        for part in parts:
            if not isinstance(part, Frame):
                if stream is None:
                    early.append(part)  # all streams must be known before anything is written
                    continue
                part.stream = sound
                container.mux(part)
                continue
            if stream is None:
                stream = container.add_stream(codec, rate=rate.limit_denominator(100_000), options=options)
                stream.width, stream.height = (side + side % 2 for side in part.image.size)
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = time_base
                stream.codec_context.colorspace = 6  # BT.601, by which the encoder converts, for players to know
                sound = container.add_stream_from_template(audio) if audio is not None else None
                for packet in early:
                    packet.stream = sound
                    container.mux(packet)
            frame = av_frame(av, part.image)
            frame.time_base, frame.pts = time_base, round(part.start / time_base)
            frame.duration = round(part.length / time_base)
            container.mux(stream.encode(frame))
            count += 1
        if stream is None:
            raise UserError(f"{target.name}: there is no frame to write.")
        container.mux(stream.encode())
    return count
