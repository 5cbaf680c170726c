"""Which pictures are read, and where each result is written."""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image

from progcycle.data.kinds import VOLUMES, extension_of
from progcycle.data.source import Entry, Opener, find_pictures
from progcycle.errors import UserError
from progcycle.export.clips import ANIMATIONS, CODECS, VIDEOS, check_av, is_animated, is_video
from progcycle.export.exif_directories import append_directories
from progcycle.export.metadata import describing_texts
from progcycle.files import atomic_file
from progcycle.recipe import find_pictures_path

# How Pillow writes a picture of true colour or grey; other formats cannot hold one and become PNG files.
WRITERS: dict[str, dict[str, object]] = {
    ".png": {},
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"lossless": True},
    ".bmp": {},
    ".tif": {"compression": "tiff_deflate"},
    ".tiff": {"compression": "tiff_deflate"},
    ".ppm": {},
    ".pgm": {},
}
# What of an image's info each of them can hold.
KEEPS: dict[str, tuple[str, ...]] = {
    ".png": ("icc_profile", "exif", "dpi"),
    ".jpg": ("icc_profile", "exif", "dpi"),
    ".jpeg": ("icc_profile", "exif", "dpi"),
    ".webp": ("icc_profile", "exif"),
    ".bmp": ("dpi",),
    ".tif": ("icc_profile", "dpi"),
    ".tiff": ("icc_profile", "dpi"),
}
TIFF = (".tif", ".tiff")
WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Job:
    """One picture to read, and the file to write."""

    source: Entry
    target: Path


def plan_jobs(given: Path, output: Path, endings: Sequence[str] = tuple(WRITERS)) -> tuple[list[Job], tuple[str, ...]]:
    """Pair every picture with its target: the same name, and the same sub-folder under ``output``.

    Args:
        given: a picture, a folder (searched recursively; other files are skipped) or a zip file.
        output: for a picture, the file to write or a folder for it; else a folder. What lies in it is not read, so it
            may be inside of ``given``.
        endings: of the files that can hold what is written; pictures of another kind get the first one appended.

    Returns:
        The pictures, and a sentence for each kind of thing that is left out and might be missed.

    Raises:
        UserError: there is nothing to read, or a target is one of the pictures that are read.
    """
    if not (there := find_pictures_path(given)).exists():
        raise UserError(f"There is no picture, folder or zip file {given}; check the path.")
    given = given if given.exists() else there
    remarks: tuple[str, ...] = ()
    if given.is_file() and given.suffix.lower() != ".zip":
        check_av(given)
        entry = Entry(given.name, str(given), None, "")
        jobs = [Job(entry, _single_target(entry, output, endings))]
    else:
        if output.exists() and not output.is_dir():
            raise UserError(f"{output} is a file; give a folder to write the pictures of {given} to.")
        listing = find_pictures([str(given)])
        entries, remarks = listing.entries, listing.remarks()
        if not listing.others.keys().isdisjoint(VIDEOS):  # they take long, and are not always meant
            remarks = (*remarks, "videos of a folder or zip file are not translated; give each by itself")
        top, written = os.path.realpath(given) + os.sep, os.path.realpath(output) + os.sep
        if written.startswith(top) and written != top:
            entries = [entry for entry in entries if not os.path.realpath(entry.file).startswith(written)]
        if not entries:
            raise UserError(f"{given} has no pictures in it but those of {output}.")
        jobs = [Job(entry, output / _kept_name(entry, given, endings)) for entry in entries]
    _check_targets(jobs)
    return jobs, remarks


def with_suffixes(jobs: Sequence[Job], suffixes: Sequence[str]) -> list[list[Job]]:
    """For each picture a job for each suffix; of several the names of the targets have them: ``cat_seed1.png``.

    Raises:
        UserError: a target is one of the pictures that are read, or that of another one.
    """
    if len(suffixes) < 2:
        return [[job] for job in jobs]
    found = [
        [replace(job, target=job.target.with_name(_with_suffix(job.target.name, suffix))) for suffix in suffixes]
        for job in jobs
    ]
    _check_targets(job for several in found for job in several)
    return found


def _with_suffix(name: str, suffix: str) -> str:
    end = len(extension_of(name))
    return f"{name[:-end]}_{suffix}{name[-end:]}" if end else f"{name}_{suffix}"


def _kept_name(entry: Entry, given: Path, endings: Sequence[str]) -> Path:
    # Listed names are in composed form (NFC); a file keeps the one that it has on disk.
    name = _inside(entry) if entry.member else Path(os.path.relpath(entry.file, given.expanduser().absolute()))
    return name.with_name(_writable(name.name, entry, endings))


def _writable(name: str, source: Entry, endings: Sequence[str]) -> str:
    """The name itself if such a file can be written, else with an extension appended it."""
    suffix = extension_of(name)
    if (
        suffix in endings
        or suffix in VOLUMES
        or suffix in CODECS
        or (suffix == ".gif" and is_animated(_opened(source)))
    ):
        return name
    return f"{name}.mp4" if suffix in VIDEOS else f"{name}{endings[0]}"


def _opened(source: Entry) -> Path | BinaryIO:
    try:
        return Opener().open(source)
    except Exception:  # the error is reported when its pixels are read
        return io.BytesIO()


def _inside(entry: Entry) -> Path:
    """The name of a zip member, without parts that lead out of the folder."""
    name = Path(*(part for part in PurePosixPath(entry.name).parts if part not in ("/", "//", "..")))
    if name.is_absolute() or name.drive:  # such as C:x.png on Windows
        raise UserError(f"{entry.name}: this name in {entry.file} cannot be written to a folder; unpack and rename it.")
    return name


def _single_target(source: Entry, output: Path, endings: Sequence[str]) -> Path:
    given = Path(source.file)
    if output.is_dir() or not output.suffix:
        return output / _writable(given.name, source, endings)
    moving = is_video(given) or is_animated(given)
    kinds, what = ((*ANIMATIONS, *CODECS), "clips") if moving else (tuple(endings), "pictures")
    if extension_of(given.name) in VOLUMES:
        kinds, what = tuple(sorted(VOLUMES)), "volumes"
    if extension_of(output.name) not in kinds:
        names = " ".join(suffix[1:] for suffix in kinds)
        raise UserError(f"{output}: {what} can be written as {names}, not as {output.suffix[1:]}.")
    check_av(output)
    return output


def _check_targets(jobs: Iterable[Job]) -> None:
    jobs = list(jobs)
    sources = {os.path.realpath(job.source.file) for job in jobs}
    taken: dict[str, str] = {}
    for job in jobs:
        place = os.path.realpath(job.target)
        if place in sources:
            raise UserError(
                f"{job.target} is one of the pictures to read, and would be overwritten; choose another output."
            )
        if place in taken:
            raise UserError(f"{taken[place]} and {job.source.name} would both be written to {job.target}.")
        taken[place] = job.source.name


def write_picture(image: Image.Image, target: Path) -> None:
    """Write a picture in the format of its file name: lossless where the format can be, JPEG at quality 95.

    Colour profile, EXIF block and dots an inch of its ``info`` are written as far as the format holds them.

    Raises:
        UserError: the picture is transparent, which the format cannot hold.
        OSError, ValueError: Pillow or the disk refuses.
    """
    kind = target.suffix.lower()
    if image.mode in ("LA", "RGBA") and kind not in WITH_ALPHA:
        raise UserError(
            f"{target.name}: {kind} holds no transparency; give a name that ends in {' '.join(WITH_ALPHA)}."
        )
    kept = {name: image.info[name] for name in KEEPS.get(kind, ()) if name in image.info}
    if kind in TIFF and "exif" in image.info:
        block = Image.Exif()
        block.update(describing_texts(image.info["exif"]))
        kept["exif"] = block.tobytes()
    with atomic_file(target) as temporary:
        image.save(temporary, **WRITERS[kind], **kept)  # type: ignore[arg-type]
        if kind in TIFF and "exif" in image.info:
            with open(temporary, "r+b") as stream:
                append_directories(stream, image.info["exif"])
