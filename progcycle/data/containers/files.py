"""Picture files in folders, zip files and stores, with classes from their folders or from JSON."""

import hashlib
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from progcycle.data.containers.base import Container, Item
from progcycle.data.labels import Label, NoLabels, raw_labels
from progcycle.data.source import LARGEST, Entry, Opener, find_pictures, locate
from progcycle.data.store import LABELS, part_of, read_store
from progcycle.errors import UserError


@dataclass
class Files(Container):
    """A folder of pictures, a zip file of them (also one that StyleGAN's tools made), or a store."""

    opener: Opener = field(default_factory=Opener)
    kind = "picture files"
    takes = frozenset({"labels"})

    def items(self) -> list[Item]:
        """The pictures as training lists them, in the same order."""
        listing = find_pictures([str(self.path)])
        for sentence in listing.remarks():
            self.remark(sentence)
        part = part_of(self.path)
        if part is not None and (licence := (read_store(part.parent) or {}).get("licence")):
            self.remark(f"licence: {licence}")
        labels = self._labels(tuple(listing.entries))
        return [
            Item(entry.name, entry, entry.stamp, None if labels is None else labels[i])
            for i, entry in enumerate(listing.entries)
        ]

    def read(self, item: Item) -> bytes:
        """The bytes of a file; of one in a store, those that its index promises."""
        file = self.opener.open(item.place)
        if isinstance(file, Path):
            if (size := file.stat().st_size) > LARGEST:
                raise ValueError(f"it has {size} bytes, more than {LARGEST}")
            return file.read_bytes()
        content = file.read()
        if item.place.at is not None and hashlib.sha256(content).hexdigest() != item.stamp.partition(" ")[2]:
            raise OSError(f"its bytes in {item.place.file} have changed")
        return content

    def _labels(self, entries: tuple[Entry, ...]) -> list[Label] | None:
        """Classes as they were asked for; else those of a ``dataset.json`` that lies with the pictures."""
        if self.options.labels is not None:
            return raw_labels(self.options.labels, entries, several=False)
        file = self._dataset_json()
        try:
            return None if file is None else raw_labels(file, entries, several=False)
        except NoLabels:
            return None
        except UserError as error:
            self.remark(f"no classes are kept: {str(error).removeprefix('data.labels: ')}")
            return None

    def _dataset_json(self) -> str | None:
        """The file of labels at the root, or inside of the folders that enclose all of a zip file."""
        container, prefix = locate(str(self.path))
        if prefix is None:
            places = [container / LABELS, *((part / LABELS,) if (part := part_of(container)) else ())]
            return next((str(file) for file in places if os.path.isfile(file)), None)
        with zipfile.ZipFile(container) as archive:
            names = [
                name for name in archive.namelist() if f"/{name}".endswith(f"/{LABELS}") and name.startswith(prefix)
            ]
        root = min(names, key=lambda name: name.count("/"), default=None)
        if root is not None and root != f"{prefix}{LABELS}":
            self.remark(
                f"{LABELS} lies inside of a folder, as {root}, where StyleGAN's tools do not find it; it is read"
            )
        return None if root is None else str(container / root)
