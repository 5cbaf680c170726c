"""Pictures as arrays, one .npy file a resolution, built once and read by memory mapping."""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from progcycle.data import store
from progcycle.data.fit import box_reduce
from progcycle.data.levels import Levels
from progcycle.data.source import Entry
from progcycle.data.staging import StagedFiles
from progcycle.data.stored import array_header
from progcycle.errors import UserError
from progcycle.recipe import Pictures
from progcycle.resolution import Resolution
from progcycle.rng import address

MANIFEST = "manifest.json"
VERSION = 1  # raise it when the pixels of the same pictures change
ABANDONED = 3600.0  # seconds without a heartbeat after which a half-written file counts as abandoned
HEARTBEAT = 60.0  # seconds between two heartbeats of a writer
LOOK = 256  # reads between two looks at whether a copy on a local disk has become complete


def folder_name(paths: Sequence[str], entries: Sequence[Entry], size: int, options: Pictures) -> str:
    """A readable name with a hash of everything the pixels depend on."""
    stamps = [[entry.name, entry.file, entry.member, entry.stamp] for entry in entries]
    content: list[Any] = [VERSION, Resolution.of(size).plain, options.fit, options.background, options.channels, stamps]
    levels = Levels.of(options)
    if not levels.plain:
        content += [levels.bits, levels.low, levels.high]
    if slices := [entry.slice for entry in entries if entry.slice is not None]:
        content += [options.volumes.axis, slices]
    return f"{Path(paths[0]).name or 'pictures'}-{address(json.dumps(content)):016x}"


def pixel_kind(size: int, options: Pictures) -> dict[str, Any]:
    """What the pixels of a stored array depend on beside the pictures, for its manifest."""
    fit, background, channels = options.fit, options.background, options.channels
    found: dict[str, Any] = {"version": VERSION, "side": Resolution.of(size).plain, "fit": fit}
    found |= {"background": background, "channels": channels}
    levels = Levels.of(options)
    return found if levels.plain else {**found, "levels": [levels.bits, levels.low, levels.high]}


def stored_arrays(
    paths: Sequence[str], entries: Sequence[Entry], size: int, options: Pictures, staged: StagedFiles | None = None
) -> "ArrayCache | None":
    """The arrays of a store's part that were made for such a size and options; None where there are none.

    Args:
        paths: where the pictures come from.
        entries: all pictures there, in the order of the arrays' rows.
        size: the full resolution.
        options: how a picture gets its shape.
        staged: where the files are read from, once they are copied there.

    Raises:
        UserError: the manifest of some arrays is damaged.
    """
    part = store.part_of(Path(os.path.abspath(os.path.expanduser(paths[0])))) if len(paths) == 1 else None
    folder = None if part is None else part / store.ARRAYS
    if folder is None or not folder.is_dir():
        return None
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        shape = (len(entries), *Resolution.of(size).shape, options.channels)
        found = ArrayCache(manifest.parent, shape, Levels.of(options).dtype, staged)
        if found.about.get("pixels") == pixel_kind(size, options):
            return found
    return None


class ArrayCache:
    """The arrays of one set of pictures, in a cache folder or in a store.

    The folder's name carries a hash of everything the pixels depend on, so its content is never out of date. A file
    is written under a temporary name and renamed when complete. An array counts only together with the manifest.

    Args:
        folder: folder of this set's arrays.
        shape: of the array at full size.  # (N, H, W, C)
        dtype: of its pixels: uint8, uint16 or float32.
        staged: where the files are read from, once they are copied there.
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int, int, int],
        dtype: Any = np.uint8,
        staged: StagedFiles | None = None,
    ) -> None:
        self.folder = folder
        self.shape = shape
        self.dtype = np.dtype(dtype).newbyteorder("<")  # on the disk
        self.staged = staged or StagedFiles()
        self._open: dict[int, np.ndarray] = {}
        self._places: dict[int, Path] = {}  # of the files that are open
        self._reads = 0
        self._broken: dict[str, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # a memory map pickles as a full copy

    def path(self, resolution: int) -> Path:
        """File of one resolution's array."""
        return self.folder / f"{resolution}.npy"

    def has(self, resolution: int) -> bool:
        """Whether the array of a resolution is there, complete."""
        return self.path(resolution).is_file() and (self.folder / MANIFEST).is_file()

    def row(self, resolution: int, index: int) -> np.ndarray | None:
        """A copy of one picture, or None when this resolution is not built.  # [h, w, C]

        Raises:
            UserError: the file on disk is damaged.
        """
        if resolution not in self._open:
            if not self.has(resolution):
                return None
            self._open[resolution] = self._load(resolution)
        self._reads += 1
        if self._reads % LOOK == 0 and self.staged(self.path(resolution)) != self._places.get(resolution):
            self._open[resolution] = self._load(resolution)
        return np.array(self._open[resolution][index])

    def _load(self, resolution: int) -> np.ndarray:
        count, _, _, channels = self.shape
        try:
            self._places[resolution] = self.staged(self.path(resolution))
            with open(self._places[resolution], "rb") as stream:
                shape, dtype, fortran = array_header(stream)
                start = stream.tell()
            if shape == (count, *Resolution.of(resolution).shape, channels) and dtype == self.dtype and not fortran:
                return np.memmap(self._places[resolution], dtype, "r", start, shape)
        except (OSError, ValueError):
            pass
        raise self._damaged(self.path(resolution).name)

    @property
    def broken(self) -> dict[str, str]:
        """The sentence about each picture that could not be read when the arrays were built, by its name.

        Raises:
            UserError: the manifest is damaged.
        """
        if self._broken is None:
            try:
                self._broken = dict(self.about["broken"])
            except (KeyError, TypeError, ValueError):
                raise self._damaged(MANIFEST) from None
        return self._broken

    @property
    def about(self) -> dict[str, Any]:
        """The content of the manifest.

        Raises:
            UserError: it is damaged.
        """
        try:
            return dict(json.loads((self.folder / MANIFEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            raise self._damaged(MANIFEST) from None

    def _damaged(self, name: str) -> UserError:
        return UserError(f"{self.folder / name} is damaged; delete the folder {self.folder} to have it built again.")

    def build(
        self,
        resolutions: Sequence[int],
        pictures: Iterable[np.ndarray],
        broken: Mapping[str, str],
        about: Mapping[str, Any],
    ) -> None:
        """Write the arrays of several resolutions in one pass over the pictures; all of them, or none.

        Args:
            resolutions: divisors of the full size.
            pictures: the pictures in order, at full size.  # [H, W, C]
            broken: sentences about broken pictures; read after the pass.
            about: written to the manifest for people to read.

        Raises:
            UserError: the disk refuses (full, read-only).
        """
        count, height, width, channels = self.shape
        # Another writer may build the same at the same time, on another machine or in another container with the same
        # process numbers. Both write the same bytes, so that it does not matter whose are renamed last.
        own = secrets.token_hex(8)
        partial = {r: self.path(r).with_name(f"{r}.npy.{own}.partial") for r in resolutions}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as stack:
                # Plain writes: on a full disk they raise, where a write to a memory map would kill the process.
                streams = {r: stack.enter_context(open(file, "wb")) for r, file in partial.items()}
                for r, stream in streams.items():
                    header = {
                        "descr": np.lib.format.dtype_to_descr(self.dtype),
                        "fortran_order": False,
                        "shape": (count, *Resolution.of(r).shape, channels),
                    }
                    np.lib.format.write_array_header_1_0(stream, header)
                self._sweep(partial.values())
                alive = time.monotonic()
                for picture in pictures:
                    for r, stream in streams.items():
                        stream.write(np.ascontiguousarray(box_reduce(picture, r), self.dtype).data)
                    if time.monotonic() - alive > HEARTBEAT:
                        alive = time.monotonic()
                        for file in partial.values():
                            os.utime(file)
                for stream in streams.values():
                    stream.flush()
                    os.fsync(stream.fileno())
            size = Resolution(height, width).plain
            about = {**about, "count": count, "side": size, "channels": channels, "broken": dict(broken)}
            self._write_manifest(about, own)
            for r, written in partial.items():
                self._rename(written, self.path(r))
        except OSError as error:
            raise UserError(
                f"The picture cache {self.folder} cannot be written ({error.strerror or error}); set data.cache_dir to "
                "another place, or lower data.cache_resolution."
            ) from None
        finally:
            for file in partial.values():
                with contextlib.suppress(OSError):  # there is none, after success
                    file.unlink()
        self._broken = None

    def _write_manifest(self, content: Mapping[str, Any], own: str) -> None:
        partial = self.folder / f"{MANIFEST}.{own}.partial"
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        self._rename(partial, self.folder / MANIFEST)

    @staticmethod
    def _rename(written: Path, place: Path) -> None:
        try:
            os.replace(written, place)
        except PermissionError:  # Windows replaces no file that somebody reads: it is there, then, and the same
            if not place.is_file():
                raise
            written.unlink()

    def _sweep(self, own: Collection[Path]) -> None:
        """Delete the files of builds that were killed, and none of a build that is running.

        Args:
            own: files just written here; their times are by the same clock as those of the others.
        """
        now = max(file.stat().st_mtime for file in own)
        for file in self.folder.glob("*.partial"):
            with contextlib.suppress(OSError):
                if now - file.stat().st_mtime > ABANDONED:
                    file.unlink()
