"""Tar files of pictures, as WebDataset writes them: members of one name in succession are one sample."""

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from progcycle.data.containers.base import Container, Item, find_files, split_of
from progcycle.data.kinds import is_left_out, readable_extensions
from progcycle.data.source import LARGEST
from progcycle.data.store import read_range
from progcycle.errors import UserError

CLASS = "cls"  # the ending of a sample's class
MARK, AT = b"ustar", 257  # of a tar file, and where
BLOCK = 512


def is_webdataset(path: Path) -> bool:
    """Whether a path is a tar file, or a folder with some."""
    return bool(find_files(path, ".tar", MARK, AT))


class _Member(NamedTuple):
    """A file in a tar file."""

    name: str
    offset: int
    size: int


@dataclass
class WebDataset(Container):
    """Tar files, read by position and never unpacked."""

    kind = "a tar file of pictures"
    takes = frozenset({"columns", "label_column"})

    def items(self) -> list[Item]:
        """The pictures of all samples."""
        files = find_files(self.path, ".tar", MARK, AT)
        items: list[Item] = []
        for file in files:
            prefix = "" if file == self.path else f"{file.stem}/"
            for key, parts in _samples(self._members(file)):
                items += self._of_sample(file, f"{prefix}{key}", parts)
        if not items:
            raise UserError(
                f"{self.path} has no pictures in it; the names of its members must end in .jpg, .png or so."
            )
        return items

    def _of_sample(self, file: Path, key: str, parts: dict[str, _Member]) -> Iterator[Item]:
        pictures = [end for end in parts if f".{end.rpartition('.')[2].lower()}" in readable_extensions()]
        if self.options.columns:
            pictures = [end for end in self.options.columns if end in parts]
        elif len(pictures) > 1:
            raise UserError(
                f"{file}: the sample {key} has several pictures, {', '.join(pictures)}; choose one by --column, or two "
                "for A and B."
            )
        wanted = self.options.label_column if self.options.label_column is not None else CLASS
        label = self._label(file, parts[wanted]) if wanted in parts else None
        for end in pictures:
            domain = "ab"[self.options.columns.index(end)] if len(self.options.columns) == 2 else ""
            name = key if domain else f"{key}.{end}"  # A and B of a sample have one name
            yield Item(
                name, (str(file), *parts[end][1:]), self.stamp_of(file), label, split_of(file, self.path), domain
            )

    def _label(self, file: Path, member: _Member) -> int | str | None:
        try:
            text = read_range(str(file), member.offset, min(member.size, 1000)).decode().strip()
        except (OSError, ValueError):
            raise self.refused(f"the class {member.name} is no text") from None
        return int(text) if re.fullmatch(r"\d{1,9}", text) else text or None

    def _members(self, file: Path) -> list[_Member]:
        """All files in a tar file, which must be whole."""
        size = file.stat().st_size
        try:
            with tarfile.open(file, "r:") as archive:
                found = [_Member(m.name, m.offset_data, m.size) for m in archive if m.isreg() and not m.issparse()]
                end = archive.offset
        except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError) as error:
            raise self.refused(f"{file.name}: {error}") from None
        for member in found:
            if not 0 <= member.offset <= member.offset + member.size <= size:
                raise self.refused(f"{file.name} ends inside of {member.name}, an incomplete download")
        if end + BLOCK > size or any(read_range(str(file), end, BLOCK)):
            raise self.refused(f"{file.name} ends without the mark of its end, an incomplete download")
        return found

    def read(self, item: Item) -> bytes:
        """The bytes of a member."""
        file, offset, size = item.place
        if size > LARGEST:
            raise ValueError(f"it has {size} bytes, more than {LARGEST}")
        return read_range(file, offset, size)


def _samples(members: list[_Member]) -> Iterator[tuple[str, dict[str, _Member]]]:
    """Members grouped by their names up to the first dot, each with its ending."""
    key, parts = None, dict[str, _Member]()
    for member in members:
        name = PurePosixPath(member.name)
        if is_left_out(str(name)):
            continue
        base, _, end = name.name.partition(".")
        mine = os.path.normpath(str(name.with_name(base or name.name)))
        if mine != key or end in parts:
            if key is not None:
                yield key, parts
            key, parts = mine, {}
        parts[end] = member
    if key is not None:
        yield key, parts
