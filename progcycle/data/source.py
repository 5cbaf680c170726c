"""Picture files in folders and zip files: found in the same order everywhere, opened by index."""

import io
import os
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from progcycle.errors import UserError

LARGEST = 1 << 30  # bytes of a picture or of a file of labels; larger ones are not read into memory
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


@dataclass(frozen=True)
class Entry:
    """One picture file.

    Attributes:
        name: relative name with forward slashes; bytes of it that are no text are escaped.
        file: absolute path of the file, or of the zip that holds it.
        member: its name inside the zip; None for a file of its own.
        stamp: changes when the content changes (size and time, or the zip's checksum).
    """

    name: str
    file: str
    member: str | None
    stamp: str


def locate(path: str) -> tuple[Path, str | None]:
    """Where a path leads: (folder, None), or (zip file, prefix of the members) for ``x.zip`` and ``x.zip/sub``.

    Raises:
        UserError: nothing is there, or a file that is not a zip.
    """
    full = Path(os.path.abspath(os.path.expanduser(path)))
    if os.path.isdir(full):
        return full, None
    for parent in (full, *full.parents):
        if os.path.isfile(parent):
            if not zipfile.is_zipfile(parent):
                raise UserError(f"{parent} is neither a folder nor a readable zip file; give a folder of pictures.")
            inner = full.relative_to(parent).as_posix()
            return parent, "" if inner == "." else f"{inner}/"
    raise UserError(f"There is no folder or zip file {full}; {_where_to_get(full)}.")


def _where_to_get(path: Path) -> str:
    for parent in (path, *path.parents):
        readme = parent / "README.md"
        if parent.parent.name == "datasets" and os.path.isfile(readme):
            return f"{readme} says how to get the data"
    if any(parent.name == "datasets" for parent in path.parents):
        return (
            "pictures in datasets/ come with a clone of the project and not with the package: start in the clone, or "
            "give pictures of yours, such as data.root=FOLDER (of a PG-GAN: data.path=FOLDER)"
        )
    return "check the path in the recipe's data section (relative paths start at the current folder)"


def subfolders(path: str) -> tuple[str, ...]:
    """Sorted names of the folders directly inside a folder or zip file, hidden ones left out.

    Raises:
        UserError: as :func:`locate`.
    """
    container, prefix = locate(path)
    if prefix is None:
        return tuple(sorted(e.name for e in _scan(str(container)) if os.path.isdir(e) and not _hidden(e.name)))
    inner = (m.filename[len(prefix) :] for m in _members(container) if m.filename.startswith(prefix))
    return tuple(sorted({name.partition("/")[0] for name in inner if "/" in name and not _hidden(name)}))


def list_pictures(paths: Sequence[str]) -> tuple[Entry, ...]:
    """All pictures under the paths, sorted by name.

    With several paths every name starts with the last part of its path (and a number where two paths end alike).

    Raises:
        UserError: a path is missing, cannot be read, or has no pictures in it.
    """
    entries: list[Entry] = []
    ends = [os.path.basename(os.path.abspath(os.path.expanduser(path))) for path in paths]
    for i, (path, end) in enumerate(zip(paths, ends, strict=True)):
        container, prefix = locate(path)
        found = list(_in_folder(container) if prefix is None else _in_zip(container, prefix))
        if not found:
            known = " ".join(sorted(extension[1:] for extension in EXTENSIONS))
            place = Path(container, prefix or "")
            raise UserError(f"{place} has no pictures in it; files must end in one of: {known}.")
        label = "" if len(paths) == 1 else f"{end}/" if ends.count(end) == 1 else f"{end}-{i + 1}/"
        entries += [Entry(_text(label + entry.name), entry.file, entry.member, entry.stamp) for entry in found]
    return tuple(sorted(entries, key=lambda entry: (entry.name, entry.file)))


def _text(name: str) -> str:
    """A name that can be written and hashed as UTF-8; file systems allow others too."""
    return name.encode("utf-8", "backslashreplace").decode()


def _hidden(name: str) -> bool:
    return any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in name.split("/"))


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in EXTENSIONS and not _hidden(name)


def _scan(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: this folder cannot be read ({error.strerror or error}).") from None


def _in_folder(top: Path) -> Iterator[Entry]:
    """Walk a folder; every real folder is entered once, so that links in a circle end."""
    seen: set[tuple[int, int]] = set()
    stack = [(str(top), "")]
    while stack:
        folder, prefix = stack.pop()
        listing = _scan(folder)
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        stack += [(e.path, f"{prefix}{e.name}/") for e in reversed(listing) if os.path.isdir(e) and not _hidden(e.name)]
        for entry in listing:
            if _is_picture(entry.name) and os.path.isfile(entry):
                info = entry.stat()
                name = unicodedata.normalize("NFC", prefix + entry.name)  # macOS lists decomposed accents
                yield Entry(name, entry.path, None, f"{info.st_size} {info.st_mtime_ns}")


def _members(file: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: this zip file cannot be read ({error}).") from None


def _in_zip(file: Path, prefix: str) -> Iterator[Entry]:
    members = {m.filename: m for m in _members(file)}  # of two members with one name the later counts
    for member in members.values():
        inner = member.filename[len(prefix) :]
        if member.filename.startswith(prefix) and not member.is_dir() and _is_picture(inner):
            name = unicodedata.normalize("NFC", inner)
            yield Entry(name, str(file), member.filename, f"{member.file_size} {member.CRC}")


class Opener:
    """Opens entries; zip files are opened once a process and read by member, never unpacked to disk."""

    def __init__(self) -> None:
        self._zips: dict[tuple[int, str], zipfile.ZipFile] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_zips": {}}

    def open(self, entry: Entry) -> Path | BinaryIO:
        """A path, or the bytes of a zip member.

        Raises:
            OSError, zipfile.BadZipFile, RuntimeError: the zip file or its member cannot be read.
        """
        if entry.member is None:
            return Path(entry.file)
        key = (os.getpid(), entry.file)  # a forked worker would share the file offset of its parent
        if key not in self._zips:
            self._zips[key] = zipfile.ZipFile(entry.file)
        return io.BytesIO(read_member(self._zips[key], entry.member))


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a zip member, never more than it declares, however much its data would expand to.

    Raises:
        KeyError: there is no such member.
        ValueError: it declares more than 1 GiB.
        OSError, zipfile.BadZipFile, RuntimeError, ...: the member cannot be read.
    """
    size = archive.getinfo(name).file_size
    if size > LARGEST:
        raise ValueError(f"it has {size} bytes, more than {LARGEST}")
    with archive.open(name) as member:
        return member.read(size + 1)  # beyond the end, where the checksum is compared
