"""A store: pictures in a few large files with an index, and arrays of them; ``progcycle prepare`` writes it.

::

    STORE/store.json                    what it was made from, and a hash of each index
    STORE/trainA/pictures.jsonl         the index: one line a picture
    STORE/trainA/00000.zip ...          the picture files, as they were found; plain zip files without compression
    STORE/trainA/dataset.json           their classes, if they have any
    STORE/trainA/skipped.jsonl          what was left out, and why
    STORE/trainA/arrays/NAME/64.npy     the pictures at some resolutions, with a manifest: a cache that is built before

The parts are ``train`` and ``test``, or of two domains ``trainA``, ``trainB``, ``testA``, ``testB``.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from progcycle.errors import UserError

STORE = "store.json"
FORMAT, VERSION = "progcycle store", 1
INDEX, LABELS, SKIPPED, ARRAYS = "pictures.jsonl", "dataset.json", "skipped.jsonl", "arrays"
DATE = (1980, 1, 1, 0, 0, 0)  # of all members of zip files
PARTS = ("train", "trainA", "trainB", "test", "testA", "testB")


@dataclass(frozen=True)
class Row:
    """A line of an index: one picture.

    Attributes:
        name: relative name with forward slashes.
        file: name of the zip file that holds it, in the folder of the index.
        offset: where its bytes begin in that file.
        bytes: how many there are.
        crc: their CRC-32, as in the zip file.
        sha256: their hash.
        pixels: a hash of the decoded pixels, the same for the same picture in two formats.
        width, height, mode: of the upright picture; the mode is Pillow's.
        label: its class, or None.
    """

    name: str
    file: str
    offset: int
    bytes: int
    crc: int
    sha256: str
    pixels: str
    width: int
    height: int
    mode: str
    label: int | str | None = None

    @property
    def is_sound(self) -> bool:
        """Whether the values are of the right types, and the file lies where the index does."""
        texts, numbers = (self.name, self.file, self.sha256), (self.offset, self.bytes, self.crc)
        types = all(type(text) is str for text in texts) and all(type(number) is int for number in numbers)
        return types and Path(self.file).name == self.file and self.bytes >= 0


def read_store(folder: Path) -> dict[str, Any] | None:
    """The content of ``store.json``; None where there is none, so that the folder is no store.

    Raises:
        UserError: the file is damaged, or the store was written by a newer version.
    """
    file = folder / STORE
    if not os.path.isfile(file):
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            return None  # a file of something else
        parts = content["parts"]
        if set(parts) <= set(PARTS) and parts and all(isinstance(part["index"], str) for part in parts.values()):
            if content["version"] > VERSION:
                raise UserError(f"{folder} was prepared by a newer version of progcycle; update progcycle to read it.")
            return content
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise damaged(file)


def member(name: str) -> zipfile.ZipInfo:
    """A member of a zip file that is the same whenever it is written, and that everybody may read once unpacked."""
    info = zipfile.ZipInfo(name, DATE)
    info.external_attr = 0o644 << 16
    return info


def damaged(file: Path) -> UserError:
    """The error about a file of a store."""
    return UserError(f"{file} is damaged; prepare the store again from its source.")


def part_of(folder: Path) -> Path | None:
    """The part of a store that a folder stands for: itself, or the training pictures of a store of one domain.

    Raises:
        UserError: the folder is a store of two domains, or it is damaged.
    """
    if folder.name in PARTS and (content := read_store(folder.parent)) is not None:
        return folder if folder.name in content["parts"] else None
    if (content := read_store(folder)) is None:
        return None
    if "train" in content["parts"]:
        return folder / "train"
    parts = " or ".join(str(folder / part) for part in content["parts"])
    raise UserError(f"{folder} is a store of two domains: give it as data.root, or one of them as {parts}.")


def read_rows(part: Path) -> Iterator[Row]:
    """The lines of a part's index, in the order of the names.

    Raises:
        UserError: the index or one of its files is damaged or missing.
    """
    file = part / INDEX
    content = read_store(part.parent)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror or error}).") from None
    if content is None or hashlib.sha256(text).hexdigest() != content["parts"][part.name]["index"]:
        raise damaged(file)
    sizes: dict[str, int] = {}
    for line in text.splitlines():
        try:
            row = Row(**json.loads(line))
            if not row.is_sound:
                raise ValueError(line)
            if row.file not in sizes:
                sizes[row.file] = (part / row.file).stat().st_size
        except OSError as error:
            raise UserError(f"{part}: a file of this store cannot be read ({error}).") from None
        except (ValueError, TypeError, RecursionError):
            raise damaged(file) from None
        if not 0 <= row.offset <= row.offset + row.bytes <= sizes[row.file]:
            raise damaged(part / row.file)
        yield row


def read_range(file: str, offset: int, size: int) -> bytes:
    """Some bytes of a file.

    Raises:
        OSError: it cannot be read, or ends before.
    """
    with open(file, "rb", buffering=0) as stream:
        stream.seek(offset)
        content = stream.read(size)
    if len(content or b"") != size:
        raise OSError(f"{os.path.basename(file)} ends too early")
    return content
