"""From a trained run to pictures: snapshots on disk, and the two models that are read from them."""

from progcycle.export.config import SnapshotConfig
from progcycle.export.generator import Generator
from progcycle.export.pictures import from_pil, to_pil
from progcycle.export.snapshot import find_snapshot, list_snapshots, load, save_snapshot
from progcycle.export.translator import Translator
from progcycle.export.warm_start import warm_start

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
    "warm_start",
]
