"""Picture files in folders, zip files and stores: found in the same order everywhere, opened by index."""

import io
import os
import stat
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from progcycle.data import store
from progcycle.data.kinds import (
    ARRAYS,
    count_extensions,
    describe_file,
    describe_unreadable,
    extension_of,
    is_left_out,
    is_output,
    readable_extensions,
)
from progcycle.data.staging import StagedFiles
from progcycle.errors import UserError
from progcycle.recipe import find_pictures_path

LARGEST = 1 << 30  # bytes of a picture or of a file of labels; larger ones are not read into memory
NAMED = 3  # unreadable folders that a sentence names


@dataclass(frozen=True)
class Entry:
    """One picture file.

    Attributes:
        name: relative name with forward slashes; bytes of it that are no text are escaped.
        file: absolute path of the file, or of the zip that holds it.
        member: its name inside the zip; None for a file of its own.
        stamp: changes when the content changes (size and time, the zip's checksum, or a hash).
        at: of a picture in a store: where its bytes begin in the file, how many there are, and their CRC-32.
        slice: number of the slice of a volume; None for a picture, or a volume as a whole.
        group: of pictures that are held out together, such as the slices of a volume; "" for none.
    """

    name: str
    file: str
    member: str | None
    stamp: str
    at: tuple[int, int, int] | None = None
    slice: int | None = None
    group: str = ""


@dataclass
class Listing:
    """The pictures under some paths, and what was left out.

    Attributes:
        entries: the pictures, sorted by name.
        others: how many other files there are by extension, hidden ones and those in systems' folders not counted.
        unreadable: folders that may not be read, with all that is in them.
        outputs: folders of runs and studies, with all that is in them.
    """

    entries: list[Entry] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def remarks(self) -> tuple[str, ...]:
        """A sentence for each kind of thing that is left out and might be missed."""
        found = [describe_unreadable(self.others)]
        if self.unreadable:
            count, shown = len(self.unreadable), ", ".join(self.unreadable[:NAMED])
            folders = "a folder" if count == 1 else f"{count} folders"
            more = " and others" if count > NAMED else ""
            found.append(f"warning: no permission to read {folders}, so what is inside is left out: {shown}{more}")
        if self.outputs:
            count, shown = len(self.outputs), ", ".join(self.outputs[:NAMED])
            folders = "a run folder lies" if count == 1 else f"{count} run folders lie"
            more = " and others" if count > NAMED else ""
            found.append(f"{folders} among the pictures, and what is inside is left out: {shown}{more}")
        return tuple(remark for remark in found if remark)


def locate(path: str) -> tuple[Path, str | None]:
    """Where a path leads: (folder, None), or (zip file, prefix of the members) for ``x.zip`` and ``x.zip/sub``.

    Raises:
        UserError: nothing is there, or a file that is not a zip.
    """
    full = find_pictures_path(path)
    if os.path.isdir(full):
        return full, None
    for parent in (full, *full.parents):
        if os.path.isfile(parent):
            if not zipfile.is_zipfile(parent):
                raise UserError(f"{parent} {describe_file(parent)}.")
            inner = full.relative_to(parent).as_posix()
            return parent, "" if inner == "." else f"{inner}/"
    raise UserError(f"There is no folder or zip file {full}; {_where_to_get(full)}.")


def _where_to_get(path: Path) -> str:
    for parent in (path, *path.parents):
        readme = parent / "README.md"
        if "datasets" in (parent.name, parent.parent.name) and os.path.isfile(readme):
            return f"{readme} explains how to get the data"
    if any(parent.name == "datasets" for parent in path.parents):
        return (
            "pictures in datasets/ come with a clone of the project and not with the package, but for datasets/demo: "
            "start in the clone, or give pictures of yours, such as data.root=FOLDER (of a PG-GAN: data.path=FOLDER)"
        )
    return "check the path, in the recipe or on the command line (relative paths start at the current folder)"


def subfolders(path: str) -> tuple[str, ...]:
    """Sorted names of the folders directly inside a folder or zip file; hidden and systems' ones are left out.

    Raises:
        UserError: as :func:`locate`, or the folder cannot be read.
    """
    container, prefix = locate(path)
    if prefix is None:
        return tuple(sorted(e.name for e in _scan(str(container)) if os.path.isdir(e) and not is_left_out(e.name)))
    inner = (name[len(prefix) :] for name, _ in _members(container) if name.startswith(prefix))
    return tuple(sorted({name.partition("/")[0] for name in inner if "/" in name and not is_left_out(name)}))


def list_pictures(paths: Sequence[str]) -> tuple[Entry, ...]:
    """The pictures of :func:`find_pictures`."""
    return tuple(find_pictures(paths).entries)


def find_pictures(paths: Sequence[str]) -> Listing:
    """All pictures under the paths, sorted by name.

    With several paths every name starts with the last part of its path (and a number where two paths end alike).

    Raises:
        UserError: a path is missing, cannot be read, or has no pictures in it.
    """
    listing = Listing()
    ends = [os.path.basename(os.path.abspath(os.path.expanduser(path))) for path in paths]
    for i, (path, end) in enumerate(zip(paths, ends, strict=True)):
        container, prefix = locate(path)
        here = Listing()
        found = _without_arrays(_entries(container, prefix, here))
        if not found:
            raise UserError(_nothing_in(Path(container, prefix or ""), here))
        label = "" if len(paths) == 1 else f"{end}/" if ends.count(end) == 1 else f"{end}-{i + 1}/"
        listing.entries += [replace(entry, name=_text(label + entry.name)) for entry in found]
        listing.others += here.others
        listing.unreadable += here.unreadable
        listing.outputs += here.outputs
    listing.entries.sort(key=lambda entry: (entry.name, entry.file))
    return listing


def _entries(container: Path, prefix: str | None, listing: Listing) -> Iterator[Entry]:
    if prefix is not None:
        return _in_zip(container, prefix, listing)
    part = store.part_of(container)
    return _in_folder(container, listing) if part is None else _in_store(part)


def _in_store(part: Path) -> Iterator[Entry]:
    return (entry_of(part, row) for row in store.read_rows(part))


def entry_of(part: Path, row: store.Row) -> Entry:
    """The picture of a line of a store's index."""
    at = (row.offset, row.bytes, row.crc)
    return Entry(row.name, str(part / row.file), row.name, f"{row.bytes} {row.sha256}", at)


def _without_arrays(entries: Iterable[Entry]) -> list[Entry]:
    """The pictures; arrays are pictures where there are no others, as beside those they are something else."""
    found = list(entries)
    others = [entry for entry in found if extension_of(entry.name) not in ARRAYS]
    return others or found


def _nothing_in(place: Path, listing: Listing) -> str:
    known = " ".join(sorted(extension[1:] for extension in readable_extensions()))
    others = f", only other files: {count_extensions(listing.others, advise=True)}" if listing.others else ""
    closed = f", and {listing.unreadable[0]} may not be read" if listing.unreadable else ""
    runs = f", but the run folder {listing.outputs[0]}" if listing.outputs else ""
    return f"{place} has no pictures in it{runs}{others}{closed}; files must end in one of: {known}."


def _text(name: str) -> str:
    """A name that can be written and hashed as UTF-8; file systems allow others too."""
    return name.encode("utf-8", "backslashreplace").decode()


def _is_picture(name: str, listing: Listing) -> bool:
    """Whether a file is a picture to read; if not it is counted, unless it is hidden."""
    if is_left_out(name):
        return False
    if (end := extension_of(name)) in readable_extensions():
        return True
    listing.others[end] += 1
    return False


def _scan(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: this folder cannot be read ({error.strerror or error}).") from None


def _in_folder(top: Path, listing: Listing) -> Iterator[Entry]:
    """Walk a folder; every real folder is entered once, so that links in a circle end."""
    seen: set[tuple[int, int]] = set()
    stack = [(str(top), "")]
    while stack:
        folder, prefix = stack.pop()
        try:
            status = os.stat(folder)
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
            kinds = [_kind(entry) for entry in inside]
        except PermissionError as error:  # such as lost+found
            if not prefix:
                raise UserError(f"{folder}: this folder cannot be read ({error.strerror or error}).") from None
            listing.unreadable.append(folder)
            continue
        except OSError as error:
            raise UserError(f"{folder}: this folder cannot be read ({error.strerror or error}).") from None
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if prefix and is_output({entry.name for entry in inside}):
            listing.outputs.append(folder)
            continue
        below = [e for e, kind in zip(inside, kinds, strict=True) if kind == "folder" and not is_left_out(e.name)]
        stack += [(e.path, f"{prefix}{e.name}/") for e in reversed(below)]
        for entry, kind in zip(inside, kinds, strict=True):
            if kind == "file" and _is_picture(entry.name, listing):
                info = entry.stat()
                name = unicodedata.normalize("NFC", prefix + entry.name)  # macOS lists decomposed accents
                yield Entry(name, entry.path, None, f"{info.st_size} {info.st_mtime_ns}")


def _kind(entry: "os.DirEntry[str]") -> str:
    """What an entry of a folder, or what it links to, is; "" for a link to nowhere.

    Raises:
        PermissionError: the folder may be listed, but nothing in it opened.
    """
    try:
        mode = entry.stat().st_mode
    except PermissionError:
        if entry.is_symlink():  # to where one may not go
            return ""
        raise
    except OSError:  # a link to nowhere or to itself
        return ""
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else ""


def _members(file: Path) -> list[tuple[str, zipfile.ZipInfo]]:
    """Members of a zip file and their names with forward slashes; some writers for Windows use backward ones."""
    try:
        with zipfile.ZipFile(file) as archive:
            return [(member.filename.replace("\\", "/"), member) for member in archive.infolist()]
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: this zip file cannot be read ({error}).") from None


def _in_zip(file: Path, prefix: str, listing: Listing) -> Iterator[Entry]:
    members = {full: member for full, member in _members(file) if full.startswith(prefix)}  # of two the later counts
    outputs = _outputs_in([full[len(prefix) :] for full in members])
    listing.outputs += [str(Path(file, prefix, folder)) for folder in outputs]
    within = tuple(f"{prefix}{folder}/" for folder in outputs)
    for full, member in members.items():
        inner = full[len(prefix) :]
        if inner and not full.endswith("/") and not full.startswith(within) and _is_picture(inner, listing):
            name = unicodedata.normalize("NFC", inner)
            yield Entry(name, str(file), member.filename, f"{member.file_size} {member.CRC}")


def _outputs_in(names: Sequence[str]) -> list[str]:
    """Folders of runs and studies among the folders that file names lie in."""
    possible = {name.rpartition("/")[0] for name in names if name.endswith(("/recipe.yaml", "/rows.jsonl"))}
    inside = {f: {name[len(f) + 1 :].partition("/")[0] for name in names if name.startswith(f"{f}/")} for f in possible}
    return sorted(folder for folder, content in inside.items() if is_output(content))


class Opener:
    """Opens entries; zip files are opened once a process and read by member, never unpacked to disk.

    Args:
        staged: where zip files and stores are read from, once they are copied there.
    """

    def __init__(self, staged: StagedFiles | None = None) -> None:
        self.staged = staged or StagedFiles()
        self._zips: dict[tuple[int, str], zipfile.ZipFile] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_zips": {}}

    def open(self, entry: Entry) -> Path | BinaryIO:
        """A path, or the bytes of a zip member.

        Raises:
            OSError, zipfile.BadZipFile, RuntimeError: the zip file or its member cannot be read.
        """
        if entry.member is None:
            return Path(entry.file)
        if entry.at is not None:
            return io.BytesIO(_from_store(str(self.staged(entry.file)), *entry.at))
        key = (os.getpid(), str(self.staged(entry.file)))  # a forked worker would share the file offset of its parent
        if key not in self._zips:
            self._zips[key] = zipfile.ZipFile(key[1])
        return io.BytesIO(read_member(self._zips[key], entry.member))


def _from_store(file: str, offset: int, size: int, crc: int) -> bytes:
    content = store.read_range(file, offset, size)
    if zlib.crc32(content) != crc:
        raise OSError(f"its bytes in {file} have changed")
    return content


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
