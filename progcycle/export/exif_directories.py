"""The Exif and GPS directories of an EXIF block, appended to a TIFF that a library has written without them.

A directory is a list of entries: tag, type, count, and the value or its place in the file (TIFF 6.0, section 2; BigTIFF
has wider numbers). Places count from the file's beginning, so directories cannot be copied as they are. tifffile writes
none within others, and Pillow some, depending on its version and the compression.
"""

import contextlib
import io
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
NESTED = (EXIF, GPS, INTEROPERABILITY)
PREFIX = b"Exif\0\0"
BYTE, LONG, UNDEFINED, LONG8 = 1, 4, 7, 16
# Of each type: bytes of the numbers that it is made of, and how many of them one value has.
TYPES = {1: (1, 1), 2: (1, 1), 3: (2, 1), 4: (4, 1), 5: (4, 2), 6: (1, 1), 7: (1, 1), 8: (2, 1), 9: (4, 1), 10: (4, 2)}
TYPES |= {11: (4, 1), 12: (8, 1), 13: (4, 1), 16: (8, 1), 17: (8, 1), 18: (8, 1)}


@dataclass(frozen=True)
class Entry:
    """One entry of a directory: its type, and the bytes of its value as they are in the file."""

    kind: int
    count: int
    value: bytes


Directory = dict[int, "Entry | Directory"]


class Layout:
    """Byte order and width of numbers of a TIFF, by its header; ``first`` is the place of its first directory.

    Raises:
        ValueError, struct.error: there is no such header.
    """

    def __init__(self, header: bytes) -> None:
        self.order = {b"II": "<", b"MM": ">"}.get(header[:2], "")
        version = struct.unpack(f"{self.order}H", header[2:4])[0]
        if not self.order or version not in (42, 43):
            raise ValueError("no TIFF")
        self.big = version == 43
        self.number, self.entry, self.place = ("Q", "HHQ8s", "Q") if self.big else ("H", "HHI4s", "I")
        self.at = 8 if self.big else 4  # of the first directory's place in the header
        self.first: int = struct.unpack_from(self.order + self.place, header, self.at)[0]
        self.inline = struct.calcsize(self.place)

    def read(self, stream: BinaryIO, place: int) -> tuple[dict[int, tuple[int, int, bytes]], int]:
        """The entries of a directory, whose values or places are as stored, and the place of the next directory."""
        stream.seek(place)
        (count,) = self._numbers(stream, self.number)
        found = {}
        for _ in range(count):
            tag, kind, length, value = self._numbers(stream, self.entry)
            found[tag] = (kind, length, value)
        return found, self._numbers(stream, self.place)[0]

    def _numbers(self, stream: BinaryIO, form: str) -> tuple[Any, ...]:
        form = self.order + form
        return struct.unpack(form, stream.read(struct.calcsize(form)))

    def pack(self, form: str, *numbers: int | bytes) -> bytes:
        """Numbers in this byte order."""
        return struct.pack(self.order + form, *numbers)

    def pointer(self, place: int) -> tuple[int, int, bytes]:
        """The entry that points to a directory."""
        return LONG8 if self.big else LONG, 1, self.pack(self.place, place)


def read_directories(block: bytes) -> Directory:
    """The Exif and GPS directories of an EXIF block, with values in little-endian order; {} of a damaged one."""
    with contextlib.suppress(ValueError, struct.error, OverflowError):
        stream = io.BytesIO(block.removeprefix(PREFIX))
        layout = Layout(stream.read(16))
        top = _read(stream, layout, layout.first)
        return {tag: top[tag] for tag in (EXIF, GPS) if isinstance(top.get(tag), dict) and top[tag]}
    return {}


def _read(stream: BinaryIO, layout: Layout, place: int, of: int = 0) -> Directory:
    entries, _ = layout.read(stream, place)
    found: Directory = {}
    for tag, (kind, count, value) in entries.items():
        if kind not in TYPES:
            continue
        width, parts = TYPES[kind]
        size = width * parts * count
        if size > layout.inline:
            stream.seek(struct.unpack(layout.order + layout.place, value)[0])
            value = stream.read(size)
        value = value[:size]
        if len(value) < size:
            continue
        if layout.order == ">":
            value = np.frombuffer(value, f">u{width}").astype(f"<u{width}").tobytes()
        if tag in NESTED and count == 1:
            if of == (EXIF if tag == INTEROPERABILITY else 0):
                found[tag] = _read(stream, layout, int.from_bytes(value, "little"), tag)
        else:
            # Pillow calls bytes that it does not know BYTE, of which the Exif directory has none (Exif 2.32, 4.6.5).
            found[tag] = Entry(UNDEFINED if kind == BYTE and of == EXIF else kind, count, value)
    return found


def append_directories(stream: BinaryIO, block: bytes) -> None:
    """Append the Exif and GPS directories of a block to a finished TIFF, classic or big, and point to them.

    Its first directory is written anew at the end of the file, with entries for the two; the old one stays unused.

    Args:
        stream: the file, open to be read and written.
        block: an EXIF block; of a damaged one nothing is written.

    Raises:
        OSError: the disk refuses.
    """
    directories = read_directories(block)
    if not directories:
        return
    stream.seek(0)
    layout = Layout(stream.read(16))
    entries, following = layout.read(stream, layout.first)
    end = stream.seek(0, 2)
    content = bytearray(-end % 8)
    for tag, directory in directories.items():
        assert isinstance(directory, dict)
        place = _write(content, end, layout, directory)
        entries[tag] = layout.pointer(place)
    place = _close(content, end, layout, entries, following)
    stream.write(content)
    stream.seek(layout.at)
    stream.write(layout.pack(layout.place, place))
    stream.seek(0, 2)


def _write(content: bytearray, start: int, layout: Layout, directory: Directory) -> int:
    """Add a directory, behind its values and the directories in it, to content that goes to ``start``; its place."""
    entries = {}
    for tag, entry in directory.items():
        if not isinstance(entry, Entry):
            entries[tag] = layout.pointer(_write(content, start, layout, entry))
            continue
        value, width = entry.value, TYPES[entry.kind][0]
        if layout.order == ">":
            value = np.frombuffer(value, f"<u{width}").astype(f">u{width}").tobytes()
        if len(value) > layout.inline:
            content += bytes((start + len(content)) % 2)
            place = layout.pack(layout.place, start + len(content))
            content += value
            value = place
        entries[tag] = (entry.kind, entry.count, value)
    return _close(content, start, layout, entries, 0)


def _close(
    content: bytearray, start: int, layout: Layout, entries: dict[int, tuple[int, int, bytes]], following: int
) -> int:
    """Add a directory whose values have their places to content that goes to ``start``; its place."""
    content += bytes((start + len(content)) % 2)
    place = start + len(content)
    content += layout.pack(layout.number, len(entries))
    for tag, entry in sorted(entries.items()):
        content += layout.pack(layout.entry, tag, *entry)
    content += layout.pack(layout.place, following)
    return place
