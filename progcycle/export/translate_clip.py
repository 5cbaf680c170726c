"""An animation or a video, translated frame by frame into another."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from progcycle.errors import UserError
from progcycle.export.clips import (
    ANIMATIONS,
    Frame,
    Video,
    is_video,
    loop_count,
    read_animation,
    with_viewer_times,
    write_animation,
    write_video,
)
from progcycle.export.jobs import Job
from progcycle.output import warn

MILLISECOND = Fraction(1, 1000)
Change = Callable[[Image.Image, str], Image.Image]


def translate_clip(file: Path | BinaryIO, job: Job, change: Change, max_pixels: int) -> tuple[Image.Image, Image.Image]:
    """Translate every frame of a clip; each keeps its time.

    Args:
        file: of the source.
        job: the source and the target; the endings of their names give the formats.
        change: translates a frame; its second argument is the name of the clip.
        max_pixels: of all frames of an animation together, which is held in memory.

    Returns:
        The first frame before and after.

    Raises:
        UserError: the clip cannot be read, has too many pixels, or the target cannot be written.
    """
    name, target = job.source.name, job.target
    kind = target.suffix.lower()
    first: list[Image.Image] = []

    def changed(parts: Iterable[Any]) -> Iterator[Any]:
        pixels = 0
        for part in parts:
            if not isinstance(part, Frame):
                yield part
                continue
            pixels += part.image.width * part.image.height
            if kind in ANIMATIONS and pixels > max_pixels:
                raise UserError(
                    f"{name}: its frames have more pixels than --max-pixels {max_pixels}; raise it, or write a "
                    "video (.mp4), whose frames are not all held in memory."
                )
            image = change(part.image, name)
            if not first:
                first.extend((part.image.convert("RGB"), image.convert("RGB")))
            yield replace(part, image=image)

    if not is_video(Path(name)):
        frames = changed(read_animation(file, name, max_pixels))
        if kind in ANIMATIONS:
            write_animation(target, frames, loop_count(file))
        else:
            write_video(target, with_viewer_times(frames), Fraction(25), MILLISECOND)
    else:
        with Video(file, name) as video:
            audio = video.audio if Path(name).suffix.lower() == kind else None
            if audio is None and video.audio is not None:
                warn(f"{name}: its sound is left out; it is copied only where the kind of the file stays the same.")
            if kind in ANIMATIONS:
                write_animation(target, changed(video.frames()))
            else:
                parts = video.frames() if audio is None else video.frames_and_audio()
                write_video(target, changed(parts), video.rate, video.time_base, audio)
    return first[0], first[1]
