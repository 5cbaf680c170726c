"""Which files are pictures, which of them can be read here, and which are left out silently or with a warning."""

import functools
import importlib.util
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from PIL import features


def _extensions(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


PLAIN = _extensions("png apng jpg jpeg jpe jfif mpo webp bmp dib gif tif tiff ppm pgm pbm pnm")
ARRAYS = _extensions("npy")  # pictures where nothing else is: beside pictures they are labels, features or caches
VOLUMES = frozenset({".nii", ".nii.gz"})
DICOM = _extensions("dcm")
JPEG_2000 = _extensions("jp2 j2k j2c jpc jpf jpx")
AVIF = _extensions("avif")
HEIF = _extensions("heic heif hif")
# Pictures, raw photographs, scans and films that cannot be read. Somebody probably meant them to be.
OTHERS = _extensions(
    "3fr 3gp ai arw avi cr2 cr3 crw dcm dds djvu dng emf eps erf exr fits hdr icns ico jxl jxr m4v mkv mov mp4 mpg "
    "mpeg mrw mts nef nii nrw orf pcx pdf pef pfm psb psd qoi raf raw rw2 rwl sgi sr2 srf srw svg svgz tga webm wmf "
    "wmv x3f xcf"
)
ADVICE = {
    **dict.fromkeys(HEIF, "pip install 'progcycle[heic]'"),
    **dict.fromkeys(AVIF, "pip install 'pillow>=11.3'"),
    **dict.fromkeys(VOLUMES | DICOM, "pip install 'progcycle[medical]'"),
}
# Folders where systems, network drives and archives keep thumbnails, deleted pictures and old states.
SYSTEM_FOLDERS = frozenset(
    {
        "@eadir",  # Synology: thumbnails
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "$recycle.bin",  # Windows
        "recycler",
        "system volume information",
        "__macosx",  # the second half of a zip file from macOS
    }
)


# What training and studies leave in a folder of theirs; a folder of pictures may hold a recipe.yaml of its own.
OF_A_RUN = frozenset({"stats.jsonl", "plan.png", "lock.json", "checkpoints", "snapshots"})
OF_A_STUDY = frozenset({"plans.json", "rows.jsonl"})


@functools.cache
def has_heif() -> bool:
    """Whether HEIC pictures can be read: the package pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


@functools.cache
def has_medical() -> bool:
    """Whether NIfTI and DICOM files can be read: the packages of the extra ``medical`` are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("nibabel", "pydicom"))


@functools.cache
def readable_extensions() -> frozenset[str]:
    """Endings of the picture files that can be read here, in small letters and with the dot."""
    extra = JPEG_2000 if features.check("jpg_2000") else frozenset()
    extra |= AVIF if "avif" in features.modules and features.check("avif") else frozenset()
    extra |= VOLUMES | DICOM if has_medical() else frozenset()
    return PLAIN | ARRAYS | extra | (HEIF if has_heif() else frozenset())


def extension_of(name: str) -> str:
    """The extension of a file name in small letters, with the dot; "" if it has none."""
    end = PurePosixPath(name).suffix.lower()
    return ".nii.gz" if end == ".gz" and name.lower().endswith(".nii.gz") else end


def is_left_out(name: str) -> bool:
    """Whether a relative name lies in a hidden or a system's folder, or is itself hidden (``._x.jpg`` of macOS too)."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return any(part.startswith(".") or part.lower() in SYSTEM_FOLDERS for part in parts)


def is_output(names: Collection[str]) -> bool:
    """Whether a folder with such files and folders in it is that of a run or of a study: its pictures are results."""
    return ("recipe.yaml" in names and not OF_A_RUN.isdisjoint(names)) or OF_A_STUDY.issubset(names)


def describe_unreadable(extensions: Mapping[str, int]) -> str:
    """A sentence about pictures and films that cannot be read, or "" if there are none.

    Args:
        extensions: how many files that are not read have each extension.
    """
    named = OTHERS | JPEG_2000 | AVIF | HEIF | VOLUMES
    pictures = {end: count for end, count in extensions.items() if end in named and count}
    if not pictures:
        return ""
    total = sum(pictures.values())
    files = "1 file with another extension is" if total == 1 else f"{total:,} files with other extensions are"
    return f"{files} left out: {count_extensions(pictures, advise=True)}"


# How files begin that are found in place of pictures and zip files, and what to do about them.
PREPARE = "train from a store that progcycle prepare makes of it"
PACKED = ("cifar-10-python.tar.gz", "cifar-100-python.tar.gz", "idx3-ubyte")  # names of files that it reads packed
CONTAINERS = (
    (b"PAR1", f"is a Parquet file; {PREPARE}"),
    (b"\x89HDF\r\n\x1a\n", f"is an HDF5 file; {PREPARE}"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it, and give the folder"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it, and give the folder"),
    (b"Rar!", "is a RAR archive; unpack it, and give the folder"),
)
ENDINGS = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"\x93NUMPY", ".npy"),
)


def describe_file(file: Path) -> str:
    """What a file is that is neither a folder nor a zip file, and what to do: the end of a sentence."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(512)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if (instead := stand_in(head)) is not None:
        return instead
    if head[257:262] == b"ustar":
        return f"is a tar file; unpack it, or {PREPARE}"
    if head.startswith(b"PK"):
        return "is a zip file without its end, an incomplete download; download it again"
    if head.startswith(b"\x1f\x8b") and any(part in file.name for part in PACKED):
        return f"is compressed with gzip; {PREPARE}"
    known = next((words for start, words in CONTAINERS if head.startswith(start)), None)
    return known or "is neither a folder nor a readable zip file; give a folder of pictures"


def stand_in(head: bytes) -> str | None:
    """What a file that begins so is in place of what its name promises, and what to do: the end of a sentence.

    A web page that was saved, or the pointer of Git LFS; None of others.
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return (
            "is a web page and not the file that its name promises, as a site answers that asks for a login or limits "
            "downloads; open it in a browser to see why, and download the file again"
        )
    if head.startswith(b"version https://git-lfs"):
        return "is the stand-in of a file that Git LFS has not fetched; run git lfs pull"
    return None


def ending_of(head: bytes) -> str:
    """The usual ending of a picture file that begins so, with the dot; "" if it is not known."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp":
        return ".avif" if head[8:12] in (b"avif", b"avis") else ".heic"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return ".ppm"
    return next((end for start, end in ENDINGS if head.startswith(start)), "")


def count_extensions(extensions: Mapping[str, int], advise: bool = False, most: int = 8) -> str:
    """Endings and how often they occur, such as ``HEIC 12, MOV 3``; the most frequent first.

    Args:
        extensions: counts by extension.
        advise: add what would make an extension readable.
        most: extensions that are named; the others are summed up.
    """
    ordered = sorted(Counter(extensions).items(), key=lambda item: (-item[1], item[0]))
    words = [f"{end[1:].upper() or 'without extension'} {count:,}" for end, count in ordered[:most]]
    if advise:
        words = [
            f"{word} ({ADVICE[end]})" if end in ADVICE else word
            for word, (end, _) in zip(words, ordered[:most], strict=True)
        ]
    rest = sum(count for _, count in ordered[most:])
    return ", ".join(words) + (f" and {rest:,} more" if rest else "")
