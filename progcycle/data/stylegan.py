"""Zip files of square pictures as StyleGAN's tools make and read them: ``dataset_tool.py`` and ``training/dataset.py``.

The members are ``00000/img00000000.png`` and so on, PNG without compression in a zip file without compression, and
``dataset.json`` at the root: ``{"labels": [["00000/img00000000.png", 6], ...]}``, or null if a picture has none.
"""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from progcycle.data.containers import Container, Item
from progcycle.data.labels import Label
from progcycle.data.pixels import as_image
from progcycle.data.reader import PictureReader
from progcycle.data.scan import Part
from progcycle.data.source import Entry, Opener
from progcycle.data.store import LABELS, member
from progcycle.files import atomic_file
from progcycle.recipe import Pictures


def member_name(index: int) -> str:
    """The name of picture number ``index``."""
    return f"{index:08}"[:5] + f"/img{index:08}.png"


def write_stylegan_zip(
    part: Part,
    file: Path,
    side: int,
    options: Pictures,
    max_pixels: int,
    on_written: Callable[[int], None] = lambda count: None,
) -> dict[Label | None, int]:
    """Write the pictures of a part that are kept, as squares; a file that is there is replaced once it is complete.

    Args:
        part: scanned.
        file: to write.
        side: pixels per side.
        options: how a picture becomes a square, and its channels.
        max_pixels: pictures of more pixels are broken.
        on_written: called with the number of pictures that were written since the last call.

    Returns:
        The number that each class has in the file; {} without classes.

    Raises:
        UserError: a picture cannot be brought to 8 bits.
        OSError: the disk refuses.
    """
    kept = part.kept()
    numbers = numbers_of([found.label for _, found in kept])
    entries = [Entry(found.name, part.source, str(i), found.sha256) for i, (_, found) in enumerate(kept)]
    reader = PictureReader(entries, options, max_pixels, _FromContainer(part.container, [item for item, _ in kept]))
    labels = []
    with atomic_file(file) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for i, (_, found) in enumerate(kept):
            stream = io.BytesIO()
            as_image(reader.fitted(i, side)).save(stream, format="png", compress_level=0, optimize=False)
            archive.writestr(member(member_name(i)), stream.getbuffer())
            labels.append([member_name(i), numbers.get(found.label)])
            on_written(1)
        archive.writestr(member(LABELS), json.dumps({"labels": labels if numbers else None}))
    return numbers


class _FromContainer(Opener):
    """Opens pictures of a container, whose entries have their number as the member."""

    def __init__(self, container: Container, items: Sequence[Item]) -> None:
        super().__init__()
        self.container, self.items = container, items

    def open(self, entry: Entry) -> BinaryIO:
        return io.BytesIO(self.container.read(self.items[int(entry.member or 0)]))


def numbers_of(labels: Sequence[Label | None]) -> dict[Label | None, int]:
    """A number for each class: its own if the classes are numbers, else its place in the order of the names.

    {} if a picture has none.
    """
    if any(label is None for label in labels):
        return {}
    different = set(labels)
    if all(isinstance(label, int) for label in different):
        return {label: label for label in different if isinstance(label, int)}
    return {label: i for i, label in enumerate(sorted(different, key=str))}
