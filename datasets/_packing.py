"""Shared by the ``prepare.py`` that turn a downloaded set into pictures: zip archives or folders of PNGs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import _common as common
from PIL import Image

# Names inside the archive or folder, and pictures; an iterator, so that a large set need not fit into memory.
Pictures = Iterable[tuple[str, Image.Image]]


def pack(target: Path, content: Mapping[str, Pictures]) -> None:
    """Write each entry as a zip archive (``x.zip``) or a folder (``x``) of PNGs, then swap all of them in.

    The archives hold no times, so that the same pictures give the same bytes. A folder that holds anything but its
    new pictures is left alone.
    """
    with common.scratch_beside(target) as scratch:
        new, old = scratch / "new", scratch / "old"
        new.mkdir()
        old.mkdir()
        counts = {
            name: (_write_zip if name.endswith(".zip") else _write_folder)(new / name, pictures)
            for name, pictures in content.items()
        }
        for name in content:
            foreign = sorted(_files(target / name) - _files(new / name))
            if foreign:
                raise common.UsageError(
                    f"{target / name} holds {foreign[0]}, which this script does not make: move it away first"
                )
        for name in content:
            if (target / name).exists():
                (target / name).rename(old / name)
            (new / name).rename(target / name)
    for name, count in counts.items():
        print(f"{name:16} {count:8}")


def _files(place: Path) -> set[str]:
    """Everything in a folder; nothing of an archive."""
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()} if place.is_dir() else set()


def _write_zip(path: Path, pictures: Pictures) -> int:
    count = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # PNGs do not get smaller
        for name, picture in pictures:
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            archive.writestr(zipfile.ZipInfo(name), buffer.getvalue())
            count += 1
    return count


def _write_folder(path: Path, pictures: Pictures) -> int:
    count = 0
    path.mkdir()
    for name, picture in pictures:
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        picture.save(place, "PNG")
        count += 1
    return count
