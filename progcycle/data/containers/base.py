"""What all containers of pictures offer: a list of their pictures, and the bytes of each."""

import importlib.util
import io
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from progcycle.data.kinds import describe_file, extension_of, is_left_out, readable_extensions, stand_in
from progcycle.data.labels import Label
from progcycle.errors import UserError
from progcycle.pretrained import MissingExtra


@dataclass(frozen=True)
class Item:
    """One picture of a container.

    Attributes:
        name: relative name with forward slashes, other than all in its split; the ending may be missing.
        place: what its container finds it by.
        stamp: changes when the content changes, as far as that is known without reading it.
        label: its class, or None.
        split: "train" or "test".
        domain: "a" or "b" where the container itself tells two domains apart, else "".
    """

    name: str
    place: Any
    stamp: str
    label: Label | None = None
    split: str = "train"
    domain: str = ""


@dataclass(frozen=True)
class Options:
    """How containers are read.

    Attributes:
        columns: of a table of pictures: the column of the pictures, or those of A and B; () for the only one.
        label_column: the column of the classes; None for the only one, "" for none.
        labels: classes of picture files: ``folders`` or a JSON file, see :func:`progcycle.data.labels.read_labels`.
    """

    columns: tuple[str, ...] = ()
    label_column: str | None = None
    labels: str | None = None


@dataclass
class Container(ABC):
    """Pictures in one place; picklable, and opened anew in every process.

    Attributes:
        path: where it is, as it was given.
        options: how it is read.
        remarks: sentences about what is left out.
    """

    path: Path
    options: Options
    remarks: list[str] = field(default_factory=list)
    kind = "pictures"
    takes = frozenset[str]()  # names of the options that mean something to it

    @abstractmethod
    def items(self) -> list[Item]:
        """All pictures, in any order; none is decoded.

        Raises:
            UserError: the container cannot be read.
        """

    @abstractmethod
    def read(self, item: Item) -> bytes:
        """The bytes of a picture file.

        Raises:
            Exception: of any kind; the picture cannot be read.
        """

    def remark(self, sentence: str) -> None:
        """Add a remark, once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def refused(self, reason: object) -> UserError:
        """The error about a container that cannot be read."""
        words = " ".join(str(reason).split()).rstrip(".") or type(reason).__name__
        return UserError(f"{self.path}: {self.kind} that cannot be read ({words}).")

    def stamp_of(self, file: Path) -> str:
        """Size and time of a file."""
        info = file.stat()
        return f"{info.st_size} {info.st_mtime_ns}"


def as_png(pixels: np.ndarray) -> bytes:
    """Raw pixels as a PNG file, the same to the bit.

    Args:
        pixels: uint8.  # [H, W], or [H, W, C] of 1 to 4 channels
    """
    stream = io.BytesIO()
    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(flat)).save(stream, format="png", compress_level=1)
    return stream.getvalue()


def as_array(pixels: np.ndarray) -> bytes:
    """Numbers of any type as a ``.npy`` file.

    Args:
        pixels: # [H, W, C]
    """
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(pixels), allow_pickle=False)
    return stream.getvalue()


def find_files(path: Path, ending: str, magic: bytes, at: int = 0) -> list[Path]:
    """Files of a kind: the path itself, or those in a folder that holds no pictures; [] if it is of another kind.

    Args:
        path: a file or a folder, searched recursively.
        ending: of the files in a folder, in small letters with the dot.
        magic: bytes that such a file has.
        at: where it has them.

    Raises:
        UserError: some of the files are of the kind and another is not, or all are pages or stand-ins: a download that
            failed, without which the rest would be taken for the whole.
    """
    if path.is_file():
        return [path] if _has(path, magic, at) else []
    found: list[Path] = []
    for folder, below, names in os.walk(path):
        below[:] = [name for name in below if not is_left_out(name)]
        visible = [name for name in names if not is_left_out(name)]
        if any(extension_of(name) in readable_extensions() for name in visible):
            return []
        found += [Path(folder, name) for name in visible if extension_of(name) == ending]
    wrong = sorted(file for file in found if not _has(file, magic, at))
    if wrong and (len(wrong) < len(found) or _stands_in(wrong[0])):
        words = describe_file(wrong[0])
        words = f"is no {ending} file; download it again" if words.startswith("is neither") else words
        raise UserError(f"{wrong[0]} {words}, or remove it.")
    return [] if wrong else sorted(found)


def _stands_in(file: Path) -> bool:
    """Whether a web page, or the pointer of Git LFS, lies where its name promises a file; or it may not be read."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(512)
    except OSError:
        return True
    return stand_in(head) is not None


def _has(file: Path, magic: bytes, at: int) -> bool:
    try:
        with open(file, "rb") as stream:
            stream.seek(at)
            return stream.read(len(magic)) == magic
    except OSError:
        return False


def split_of(file: Path, top: Path) -> str:
    """The split that the name of a file, or of its folder below ``top``, tells: "test" (validation too) or "train"."""
    names = file.relative_to(top).with_suffix("").parts if file != top else (file.stem,)
    for name in reversed(names):
        words = set(re.split(r"[^a-z]+", name.lower()))
        if "train" in words:
            return "train"
        if words & {"test", "val", "valid", "validation"}:
            return "test"
    return "train"


def needs(module: str, extra: str, path: Path) -> None:
    """Refuse a container whose library is not installed.

    Raises:
        MissingExtra: it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(f"{path}: reading it needs {module}; pip install 'progcycle[{extra}]'.")
