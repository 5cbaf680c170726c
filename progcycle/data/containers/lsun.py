"""LSUN's databases (LMDB): the key of a picture, and its file as the value."""

import faulthandler
import os
import pickle
import re
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from progcycle.data.containers.base import Container, Item, needs
from progcycle.data.source import LARGEST
from progcycle.errors import UserError

MAGIC, HEADER = 0xBEEFC0DE, 16  # of LMDB's first two pages, after the header of the page
BY_SIZE = re.compile(rb"(\d{1,5})-\d{5,}")  # keys of stylegan2-pytorch's prepare_data.py: size and number
DATA = "data.mdb"


def is_lmdb(path: Path) -> bool:
    """Whether a path is an LMDB database: a folder with ``data.mdb``, or such a file."""
    file = path / DATA if path.is_dir() else path
    if not file.is_file():
        return False
    with open(file, "rb") as stream:
        head = stream.read(HEADER + 4)
    return len(head) == HEADER + 4 and struct.unpack("<I", head[HEADER:])[0] == MAGIC


class _Value(NamedTuple):
    """A key, and the number of bytes of its value."""

    key: bytes
    size: int


@dataclass
class Lsun(Container):
    """One category of LSUN, or another database of picture files."""

    kind = "an LMDB database of pictures"
    takes = frozenset({"columns"})

    def items(self) -> list[Item]:
        """A picture for every key; those of the largest size in a database that has several."""
        needs("lmdb", "lmdb", self.path)
        check_pages(self.path, self._file, self.refused)
        values = self._scan()
        by_size: dict[str, list[_Value]] = {}
        for value in values:
            if (found := BY_SIZE.fullmatch(value.key)) is not None:
                by_size.setdefault(found[1].decode(), []).append(value)
        if by_size and any(value.key == b"length" for value in values):
            values = self._of_size(by_size)
        elif self.options.columns:
            raise UserError(f"{self.path}: --column chooses among the sizes of a database, and this one has none.")
        stamp = self.stamp_of(self._file)
        return [Item(_text(value.key), value.key, f"{stamp} {value.size}") for value in values]

    @property
    def _file(self) -> Path:
        return self.path / DATA if self.path.is_dir() else self.path

    def _of_size(self, by_size: dict[str, list[_Value]]) -> list[_Value]:
        names = sorted(by_size, key=int)
        if len(self.options.columns) > 1 or not set(self.options.columns) <= set(names):
            raise UserError(f"{self.path}: there are pictures of {', '.join(names)} px; choose one by --column.")
        size = (self.options.columns or names[-1:])[0]
        if len(names) > 1 and not self.options.columns:
            self.remark(f"pictures of {', '.join(names)} px, of which the largest are taken; --column chooses")
        return by_size[size]

    def _scan(self) -> list[_Value]:
        """All keys. Another process looks at every value first: one that lies outside of the file ends that process."""
        if not hasattr(os, "fork"):
            return list(self._values())
        close_all()
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reading)
            faulthandler.disable()  # the signal is expected
            try:
                try:
                    found: Any = list(self._values())
                except Exception as error:
                    found = str(error) or type(error).__name__
                with open(writing, "wb") as stream:
                    pickle.dump(found, stream)
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as stream:
            content = stream.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == -signal.SIGKILL:
            raise UserError(f"{self.path}: the process that read it was killed, perhaps for want of memory.")
        if code < 0 or not content:
            raise self.refused(f"{self._file.name} points to places outside of itself: it is damaged or incomplete")
        found = pickle.loads(content)  # our own process wrote it
        if isinstance(found, str):
            raise self.refused(found)
        return [_Value(*value) for value in found]

    def _values(self) -> Iterator[_Value]:
        with _environment(self.path, self.stamp_of(self._file)).begin(buffers=True) as transaction:
            for key, value in transaction.cursor():
                bytes(value[-1:])  # is it in the file?
                yield _Value(bytes(key), len(value))

    def read(self, item: Item) -> bytes:
        """The value of a key."""
        with _environment(self.path, self.stamp_of(self._file)).begin(buffers=True) as transaction:
            value = transaction.get(item.place)
            if value is None:
                raise KeyError("its key has gone")
            if len(value) > LARGEST:
                raise ValueError(f"it has {len(value)} bytes, more than {LARGEST}")
            return bytes(value)


_opened: dict[tuple[Path, str, int], Any] = {}  # one at most


def _environment(path: Path, stamp: str) -> Any:
    """The open database. Each process opens its own, as LMDB demands, and closes what it has inherited."""
    import lmdb

    key = path, stamp, os.getpid()
    if key not in _opened:
        close_all()
        _opened[key] = lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, meminit=False, create=False
        )
    return _opened[key]


def close_all() -> None:
    """Close the database that is open in this process."""
    while _opened:
        _opened.popitem()[1].close()


def check_pages(path: Path, file: Path, refused: Any) -> None:
    """Refuse a database that is shorter than its first pages say: reading it would end the process by a signal.

    Raises:
        UserError: it is incomplete, or its first pages are damaged.
    """
    size = file.stat().st_size
    with open(file, "rb") as stream:
        pages = [_meta(stream.read(HEADER + 144))]
        if pages[0] is not None and size > pages[0][0]:
            stream.seek(pages[0][0])
            pages.append(_meta(stream.read(HEADER + 144)))
    sound = [page for page in pages if page is not None]
    if len(sound) < 2:
        raise refused(f"{file.name} has no sound first pages")
    page_size, last, _ = max(sound, key=lambda page: page[2])
    if (last + 1) * page_size > size:
        raise refused(f"{file.name} has {size} bytes and should have {(last + 1) * page_size}, an incomplete download")


def _meta(content: bytes) -> tuple[int, int, int] | None:
    """Page size, number of the last page, and number of the transaction of a first page (``MDB_meta`` in mdb.c)."""
    try:
        magic, version = struct.unpack_from("<II", content, HEADER)
        (page_size,) = struct.unpack_from("<I", content, HEADER + 24)
        last, transaction = struct.unpack_from("<QQ", content, HEADER + 120)
    except struct.error:
        return None
    sound = magic == MAGIC and version in (1, 999) and 256 <= page_size <= 65536 and page_size & (page_size - 1) == 0
    return (page_size, last, transaction) if sound else None


def _text(key: bytes) -> str:
    """A key as a name: as text if it can be printed, else in hexadecimal digits."""
    try:
        text = key.decode("ascii")
        return text if text.isprintable() and text else key.hex()
    except UnicodeDecodeError:
        return key.hex()
