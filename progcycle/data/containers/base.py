"""What all containers of pictures offer: a list of their pictures, and the bytes of each."""

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from progcycle.data.labels import Label
from progcycle.errors import UserError


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

    def refused(self, reason: object) -> UserError:
        """The error about a container that cannot be read."""
        words = " ".join(str(reason).split()).rstrip(".") or type(reason).__name__
        return UserError(f"{self.path}: {self.kind} that cannot be read ({words}); nothing was written.")

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
