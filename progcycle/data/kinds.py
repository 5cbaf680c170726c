"""Which files are pictures, which of them can be read here, and which are left out silently or with a warning."""

import functools
import importlib.util
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from PIL import features


def _extensions(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


PLAIN = _extensions("png apng jpg jpeg jpe jfif mpo webp bmp dib gif tif tiff ppm pgm pbm pnm")
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
def readable_extensions() -> frozenset[str]:
    """Endings of the picture files that can be read here, in small letters and with the dot."""
    extra = JPEG_2000 if features.check("jpg_2000") else frozenset()
    extra |= AVIF if "avif" in features.modules and features.check("avif") else frozenset()
    return PLAIN | extra | (HEIF if has_heif() else frozenset())


def extension_of(name: str) -> str:
    """The extension of a file name in small letters, with the dot; "" if it has none."""
    return PurePosixPath(name).suffix.lower()


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
    pictures = {end: count for end, count in extensions.items() if end in OTHERS | JPEG_2000 | AVIF | HEIF and count}
    if not pictures:
        return ""
    total = sum(pictures.values())
    files = "1 file with another extension is" if total == 1 else f"{total:,} files with other extensions are"
    return f"{files} left out: {count_extensions(pictures, advise=True)}"


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
