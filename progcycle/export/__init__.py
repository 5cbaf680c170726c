"""From a trained run to pictures: snapshots on disk, and the two models that are read from them."""

from progcycle.export.config import SnapshotConfig
from progcycle.export.models import Generator, Translator
from progcycle.export.pictures import from_pil, to_pil
from progcycle.export.snapshot import find_snapshot, list_snapshots, load, save_snapshot

__all__ = [
    "Generator",
    "SnapshotConfig",
    "Translator",
    "find_snapshot",
    "from_pil",
    "list_snapshots",
    "load",
    "save_snapshot",
    "to_pil",
]
