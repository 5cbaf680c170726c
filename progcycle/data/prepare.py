"""Making a store: picture files into a few large ones with an index, and arrays of some resolutions."""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from progcycle.data import store
from progcycle.data.cache import MANIFEST, pixel_kind
from progcycle.data.containers import Container, Item
from progcycle.data.fit import box_reduce
from progcycle.data.levels import Levels
from progcycle.data.measure import with_levels
from progcycle.data.picture_set import PictureSet
from progcycle.data.pool import in_processes
from progcycle.data.reader import PictureReader
from progcycle.data.scan import Found, Part
from progcycle.data.source import Entry, entry_of
from progcycle.data.store import Row
from progcycle.errors import UserError
from progcycle.files import atomic_file, replace_folder
from progcycle.recipe import MAX_PIXELS, Pictures
from progcycle.resolution import Resolution

FILE_BYTES, FILE_PICTURES = 1 << 28, 4096  # of one file of a store, at most; what a killed process has to do again
ROWS = 64  # of an array that a process writes at a time
SMALLEST = 4  # pixels of a side


@dataclass(frozen=True)
class Arrays:
    """Which arrays a store has.

    Attributes:
        side: the resolution that pictures are brought to: that of the recipe, or one of its shape whose shorter side is
            its load_resolution.
        options: how a picture gets its shape.
        budget: bytes that all arrays may take.
    """

    side: Resolution
    options: Pictures = field(default_factory=Pictures)
    budget: float = 8e9

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the numbers on the disk: uint8, uint16 or float32."""
        return Levels.of(self.options).dtype.newbyteorder("<")

    @property
    def folder(self) -> str:
        """A name for the arrays of this kind."""
        levels = Levels.of(self.options)
        window = "" if levels.plain else f"-{levels.bits}-{levels.low:g}-{levels.high:g}"
        return f"{self.side}-{self.options.fit}{window}"

    def resolutions(self, count: int) -> list[Resolution]:
        """Those that fit into the budget, from the smallest on; each is half of the next.

        Args:
            count: pictures in all parts.
        """
        each = self.options.channels * Levels.of(self.options).dtype.itemsize
        sizes = Resolution.of(self.side).halves(SMALLEST)[::-1]
        totals = np.cumsum([count * size.pixels * each for size in sizes])
        return [size for size, total in zip(sizes, totals, strict=True) if total <= self.budget]

    def bytes_each(self, count: int) -> int:
        """What a picture takes in all of them.

        Args:
            count: pictures in all parts.
        """
        numbers = sum(size.pixels for size in self.resolutions(count)) * self.options.channels
        return numbers * self.dtype.itemsize

    def of_depth(self, part: Part) -> "Arrays":
        """The arrays with the depth that most pictures of a part have, by its scan; their window is measured later."""
        depths = Counter(found.bits for _, found in part.kept())
        bits = max(depths, key=lambda bits: depths[bits], default=8)
        return replace(self, options=self.options.model_copy(update={"bits": bits}))


@dataclass(frozen=True)
class Work:
    """The folder beside a store in which it is made; it stays after an interruption, and what is in it is not lost."""

    target: Path

    @property
    def folder(self) -> Path:
        """Beside the store, hidden."""
        return self.target.with_name(f".{self.target.name}.partial")

    @property
    def scans(self) -> Path:
        """Results of the scan."""
        return self.folder / "scan"

    @property
    def made(self) -> Path:
        """The store as far as it is made."""
        return self.folder / "store"

    @property
    def done(self) -> Path:
        """Notes about what of it is complete."""
        return self.folder / "done"


@contextlib.contextmanager
def readable_errors(work: Work) -> Iterator[None]:
    """Errors of the disk as a sentence that says how to go on."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{work.target} cannot be written ({error.strerror or error}); start the same command again to go on, all "
            f"that is done is in {work.folder}."
        ) from None


def check_room(work: Work, needed: int) -> None:
    """Refuse to begin what the disk has no room for.

    Args:
        work: where it is written; what is there already counts as written.
        needed: bytes of the store.

    Raises:
        UserError: there is less room.
    """
    written = sum(file.stat().st_blocks * 512 for file in work.made.rglob("*") if file.is_file())
    free = shutil.disk_usage(work.folder).free
    if needed - written > free:
        raise UserError(
            f"{work.target} needs {(needed - written) / 1e9:.3g} GB and the disk has {free / 1e9:.3g} GB left; choose "
            "another place, or a lower --budget-gb for the arrays."
        )


# --- picture files ----------------------------------------------------------------------------------------------------


def write_pictures(
    part: Part, work: Work, processes: int, on_written: Callable[[int], None] = lambda count: None
) -> list[Row]:
    """Write the pictures of a part that are kept, and their index.

    Args:
        part: scanned.
        work: where the store is made; files that are complete there are kept.
        processes: how many write at a time.
        on_written: called with the number of pictures that were written since the last call.

    Returns:
        The lines of the index.

    Raises:
        UserError: a picture is not what the scan has found.
        OSError: the disk refuses.
    """
    folder = work.made / part.name
    folder.mkdir(parents=True, exist_ok=True)
    work.done.mkdir(parents=True, exist_ok=True)
    rows: dict[int, list[Row]] = {}
    jobs: list[tuple[Any, ...]] = []
    places: list[int] = []
    groups = list(_in_files(part.kept()))
    for i, group in enumerate(groups):
        file = folder / f"{i:05}.zip"
        note = work.done / f"{part.name}-{i:05}.json"
        key = _hash([[found.name, found.sha256, found.label] for _, found in group])
        if (known := _written(note, key, file)) is not None:
            rows[i] = known
            on_written(len(known))
        else:
            places.append(i)
            jobs.append((part.container, group, file, note, key))
    for i, written in in_processes(_write_file, jobs, processes):
        rows[places[i]] = written
        on_written(len(written))
    for file in folder.glob("*.zip"):
        if file.stem not in {f"{i:05}" for i in range(len(groups))}:
            file.unlink()
    ordered = [row for i in range(len(groups)) for row in rows[i]]
    text = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in ordered)
    _write(folder / store.INDEX, text)
    reasons = {**part.skipped, **{found.name: found.problem for found in part.found if found.problem}}
    lines = (json.dumps({"name": name, "reason": reason}, ensure_ascii=False) for name, reason in reasons.items())
    _write(folder / store.SKIPPED, "".join(f"{line}\n" for line in lines))
    labels = [[row.name, row.label] for row in ordered if row.label is not None]
    (folder / store.LABELS).unlink(missing_ok=True)
    if labels and len(labels) == len(ordered):
        _write(folder / store.LABELS, json.dumps({"labels": labels}, ensure_ascii=False))
    return ordered


def _in_files(pictures: Sequence[tuple[Item, Found]]) -> Iterator[list[tuple[Item, Found]]]:
    group: list[tuple[Item, Found]] = []
    size = 0
    for item, found in pictures:
        if group and (size + found.bytes > FILE_BYTES or len(group) == FILE_PICTURES):
            yield group
            group, size = [], 0
        group.append((item, found))
        size += found.bytes
    if group:
        yield group


def _written(note: Path, key: str, file: Path) -> list[Row] | None:
    """The rows of a file that an earlier call has completed."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        if content["key"] == key and file.stat().st_size == content["bytes"]:
            return [Row(**row) for row in content["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _write_file(
    container: Container, group: Sequence[tuple[Item, Found]], file: Path, note: Path, key: str
) -> list[Row]:
    """Write one zip file, and then the note that it is complete."""
    rows = []
    with atomic_file(file) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for item, found in group:
                content = _unchanged(container, item, found)
                archive.writestr(store.member(found.name), content)
                assert archive.fp is not None
                facts = {key: value for key, value in asdict(found).items() if key not in ("problem", "fault")}
                rows.append(Row(**facts, file=file.name, offset=archive.fp.tell() - len(content)))
        _to_disk(temporary)
    _write(note, json.dumps({"key": key, "bytes": file.stat().st_size, "rows": [asdict(row) for row in rows]}))
    return rows


def _unchanged(container: Container, item: Item, found: Found) -> bytes:
    """The bytes of a picture, which must be those that were scanned."""
    try:
        content = container.read(item)
        if hashlib.sha256(content).hexdigest() == found.sha256:
            return content
        reason = "it has changed since it was scanned"
    except Exception as error:  # zip members, tables and databases fail in many ways
        reason = f"it could be read before, and now cannot: {str(error).rstrip('.') or type(error).__name__}"
    raise UserError(
        f"{container.path}: {found.name}: {reason}; start the same command again when nothing writes there any more."
    )


def _write(file: Path, text: str) -> None:
    with atomic_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
        _to_disk(temporary)


def _to_disk(file: Path) -> None:
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


# --- arrays -----------------------------------------------------------------------------------------------------------


def write_arrays(
    name: str,
    rows: Sequence[Row],
    arrays: Arrays,
    resolutions: Sequence[int],
    work: Work,
    processes: int,
    max_pixels: int = MAX_PIXELS,
    on_written: Callable[[int], None] = lambda count: None,
) -> None:
    """Write the arrays of a part whose pictures are written, as training itself would make them.

    Args:
        name: of the part.
        rows: its index.
        arrays: which arrays, and how pictures get their shape.
        resolutions: of the arrays.
        work: where the store is made; rows that are complete there are kept.
        processes: how many write at a time.
        max_pixels: pictures of more pixels are broken.
        on_written: called with the number of pictures that were done since the last call.

    Raises:
        UserError: a picture cannot be brought to 8 bits.
        OSError: the disk refuses.
    """
    if not resolutions:
        return
    kind, sizes = pixel_kind(arrays.side, arrays.options), [Resolution.of(r).plain for r in resolutions]
    folder = work.made / name / store.ARRAYS / arrays.folder
    key = _hash([kind, sizes, [[row.name, row.sha256] for row in rows]])[:16]
    if not (work.done / f"{name}-{key}").is_dir():
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.mkdir(parents=True)
        for resolution in resolutions:
            shape = (len(rows), *Resolution.of(resolution).shape, arrays.options.channels)
            _allocate(folder / f"{resolution}.npy", shape, arrays.dtype)
        (work.done / f"{name}-{key}").mkdir()
    entries = [entry_of(work.made / name, row) for row in rows]
    jobs = []
    for start in range(0, len(rows), ROWS):
        note = work.done / f"{name}-{key}" / str(start)
        if note.exists():
            on_written(len(rows[start : start + ROWS]))
        else:
            jobs.append((entries[start : start + ROWS], start, arrays, tuple(resolutions), folder, note, max_pixels))
    for _, count in in_processes(_write_rows, jobs, processes):
        on_written(count)
    manifest = {"pixels": kind, "count": len(rows), "resolutions": sizes, "broken": {}}
    _write(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False))


def _allocate(file: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    """A file for an array, which takes no room before it is written."""
    descr = np.lib.format.dtype_to_descr(dtype)
    with open(file, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
        stream.truncate(stream.tell() + math.prod(shape) * dtype.itemsize)


def _write_rows(
    entries: Sequence[Entry],
    start: int,
    arrays: Arrays,
    resolutions: Sequence[int],
    folder: Path,
    note: Path,
    max_pixels: int,
) -> int:
    """Write the rows of some pictures into all arrays, and then the note that they are complete."""
    reader = PictureReader(entries, arrays.options, max_pixels)
    with contextlib.ExitStack() as stack:
        streams = {r: stack.enter_context(open(folder / f"{r}.npy", "rb+")) for r in resolutions}
        for r, stream in streams.items():
            np.lib.format.read_magic(stream)
            np.lib.format.read_array_header_1_0(stream)
            stream.seek(start * Resolution.of(r).pixels * arrays.options.channels * arrays.dtype.itemsize, os.SEEK_CUR)
        for i in range(len(entries)):
            full = reader.fitted(i, arrays.side)
            for r, stream in streams.items():
                stream.write(np.ascontiguousarray(box_reduce(full, r), arrays.dtype).data)
        for stream in streams.values():
            stream.flush()
            os.fsync(stream.fileno())
    note.touch()
    return len(entries)


# --- the store --------------------------------------------------------------------------------------------------------


def write_about(parts: Sequence[Part], work: Work, about: Mapping[str, Any]) -> None:
    """Write ``store.json``; from then on the pictures can be read as those of a store.

    Args:
        parts: that were written.
        work: where the store is made.
        about: what else is written down: sources, filter, licence.

    Raises:
        OSError: the disk refuses.
    """
    found: dict[str, Any] = {}
    for part in parts:
        index = (work.made / part.name / store.INDEX).read_bytes()
        count, total = index.count(b"\n"), sum(json.loads(line)["bytes"] for line in index.splitlines())
        found[part.name] = {"count": count, "bytes": total, "index": hashlib.sha256(index).hexdigest()}
    for folder in work.made.iterdir():  # of another choice of parts, before
        if folder.is_dir() and folder.name not in found:
            shutil.rmtree(folder, ignore_errors=True)
    content = {"format": store.FORMAT, "version": store.VERSION, **about, "parts": found}
    _write(work.made / store.STORE, json.dumps(content, indent=1, ensure_ascii=False))


def measured(name: str, arrays: Arrays, work: Work, max_pixels: int, note: Callable[[str], None]) -> Arrays:
    """The arrays with the depth and the window of a part's pictures, found out as a training does.

    Args:
        name: of the part, with training pictures, in a store whose ``store.json`` is written.
        arrays: with options of the user's.
        work: where the store is made.
        max_pixels: pictures of more pixels are broken.
        note: called with a sentence where depths are mixed.

    Raises:
        UserError: depths are mixed, or the values use less than 2 % of the window.
    """

    def make(options: Pictures) -> PictureSet:
        path = str(work.made / name)
        return PictureSet("real", options, (path,), resolution=arrays.side, seed=0, max_pixels=max_pixels)

    try:
        return replace(arrays, options=with_levels(arrays.options, name, make, note))
    except UserError as error:  # which names the key of a recipe
        advice = r"give --window \1 \2"
        raise UserError(re.sub(r"set \S+\.window=\[(.+),(.+)\]", advice, str(error))) from None


def finish(work: Work) -> None:
    """Give the store its name; an older one is replaced, and what else was written for it is removed.

    Raises:
        OSError: the disk refuses.
    """
    replace_folder(work.made, work.target)
    shutil.rmtree(work.folder, ignore_errors=True)
