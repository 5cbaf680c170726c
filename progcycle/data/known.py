"""Data sets that are known by their files or their counts: named, with what is known of their licence. None is fetched.

Bytes and hashes are those of ``url_checksums/cycle_gan.txt`` of TensorFlow Datasets; counts those of the zip files, of
the papers, or of the data sets' own pages.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from progcycle.data.scan import Part

RESEARCH = "non-commercial research only, no redistribution"
NONE_GIVEN = "no licence comes with it (pictures from"


@dataclass(frozen=True)
class Archive:
    """A file that is distributed.

    Attributes:
        name: of the data set.
        bytes: of the file; None if that is not known.
        sha256: how its hash begins.
        licence: what is known.
    """

    name: str
    bytes: int | None
    sha256: str
    licence: str


ARCHIVES = {
    f"{name}.zip": Archive(name, size, sha256, f"{NONE_GIVEN} {origin})")
    for name, size, sha256, origin in (
        ("apple2orange", 78_456_409, "845a191e", "ImageNet"),
        ("cezanne2photo", 279_885_071, "3a6c10ca", "WikiArt and Flickr"),
        ("facades", 35_135_868, "9a31ebf3", "the CMP Facade Database"),
        ("horse2zebra", 116_867_962, "a74d9d39", "ImageNet"),
        ("iphone2dslr_flower", 339_964_458, "8fcb5e37", "Flickr"),
        ("maps", 1_476_754_427, "639534f6", "Google Maps"),
        ("monet2photo", 305_231_073, "88f91b00", "WikiArt and Flickr"),
        ("summer2winter_yosemite", 132_640_856, "167fe172", "Flickr"),
        ("ukiyoe2photo", 292_946_532, "02a2a2fb", "WikiArt and Flickr"),
        ("vangogh2photo", 306_590_349, "362c3473", "WikiArt and Flickr"),
    )
}
# The one that StarGAN v2 distributes, by its hash alone.
CELEBA_HQ = "f56b0d8c505aa01ec4792f8ee2fc2ca128e2cc669277438c0b27d5d69b7e4514"
ARCHIVES["celeba_hq.zip"] = Archive("CelebA-HQ", None, CELEBA_HQ, RESEARCH)


@dataclass(frozen=True)
class Counted:
    """A data set that its counts and sizes tell.

    Attributes:
        name: of the data set.
        counts: pictures by part.
        size: width and height of all of them; None: they differ.
        licence: what is known.
    """

    name: str
    counts: Mapping[str, int]
    size: tuple[int, int] | None
    licence: str


COUNTED = (
    Counted("CIFAR-10 or CIFAR-100", {"train": 50_000, "test": 10_000}, (32, 32), "no licence comes with it"),
    Counted("MNIST or a set of its form", {"train": 60_000, "test": 10_000}, (32, 32), "see the page of the set"),
    Counted("CelebA, aligned", {"train": 202_599}, (178, 218), RESEARCH),
    Counted("CelebA-HQ", {"train": 30_000}, (1024, 1024), RESEARCH),
    Counted("CelebA-HQ", {"train": 28_000, "test": 2_000}, (1024, 1024), RESEARCH),
    Counted("FFHQ", {"train": 70_000}, (1024, 1024), "CC BY-NC-SA 4.0; each picture has a licence of its own"),
    Counted(
        "horse2zebra",
        {"trainA": 1067, "trainB": 1334, "testA": 120, "testB": 140},
        (256, 256),
        ARCHIVES["horse2zebra.zip"].licence,
    ),
)
# Names that other sets are given too: the words of a name, and what the set would be.
CLAIMED = ((("celeba-hq", "celebahq", "celeba_hq"), 30_000, (1024, 1024), "CelebA-HQ"),)


def recognize(sources: Sequence[str], parts: Sequence[Part]) -> tuple[str, str, list[str]]:
    """What some pictures are known as.

    Args:
        sources: as the user gave them.
        parts: scanned.

    Returns:
        The name of the data set and what is known of its licence, or "" and ""; and sentences for the user.
    """
    sentences = []
    for source in sources:
        found, sentence = _by_file(Path(source).expanduser())
        if found is not None:
            return found.name, found.licence, [f"this is {found.name}; licence: {found.licence}"]
        if sentence:
            sentences.append(f"warning: {sentence}")
    counted = _by_counts(parts)
    if counted is not None:
        about = f"as many pictures, of the same size, as {counted.name}; its licence: {counted.licence}"
        return counted.name, counted.licence, [*sentences, about]
    return "", "", [*sentences, *_false_names(sources, parts)]


def _by_file(file: Path) -> tuple[Archive | None, str]:
    """The archive that a file is; or a sentence about one that only seems to be it."""
    if not file.is_file():
        return None, ""
    size = file.stat().st_size
    known = next((archive for archive in ARCHIVES.values() if archive.bytes == size), ARCHIVES.get(file.name))
    if known is None:
        return None, ""
    if known.bytes is not None and known.bytes != size:
        return None, (
            f"{file} is called like a file of {known.bytes:,} bytes and has {size:,}: an incomplete download, or "
            "another version"
        )
    if _sha256(file, file.stat().st_mtime_ns).startswith(known.sha256):
        return known, ""
    seems = "is called like" if known.bytes is None else "has the size of"
    return None, f"{file} {seems} {known.name}.zip and has other bytes in it: download it again, if it is to be that"


@functools.lru_cache
def _sha256(file: Path, stamp: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _by_counts(parts: Sequence[Part]) -> Counted | None:
    counts = {part.name: len(part.found) for part in parts}
    sizes = {(found.width, found.height) for part in parts for found in part.found if not found.fault}
    grey = all(found.mode == "L" for part in parts for found in part.found if not found.fault)
    for known in COUNTED:
        same_kind = known.name.startswith("MNIST") == grey or known.size != (32, 32)
        if dict(known.counts) == counts and (known.size is None or sizes == {known.size}) and same_kind:
            return known
    return None


def _false_names(sources: Sequence[str], parts: Sequence[Part]) -> list[str]:
    """Sentences about names of data sets that these pictures cannot be."""
    result = []
    count = sum(len(part.found) for part in parts)
    largest = max((min(found.width, found.height) for part in parts for found in part.found), default=0)
    for source in sources:
        name = Path(source).name.lower()
        for words, wanted, size, title in CLAIMED:
            if any(word in name for word in words) and (count != wanted or largest != size[0]):
                result.append(
                    f"warning: {source} is called like {title}, which has {wanted:,} pictures of {size[0]}x{size[1]} "
                    f"px, and has {count:,} of up to {largest} px: it is not that set, or a part of it"
                )
    return result
