"""From a trained run to pictures: snapshots on disk, and what is loaded from them, by task (``MODELS``)."""

from progcycle.export.autoencoder import Autoencoder
from progcycle.export.config import SnapshotConfig
from progcycle.export.generator import BeganGenerator, Generator
from progcycle.export.join import join_levels
from progcycle.export.lapgan import LaplacianGenerator
from progcycle.export.portable import ExportedFile, export_model, read_metadata
from progcycle.export.snapshot import MODELS, find_snapshot, list_snapshots, load, load_as, pull_model, save_snapshot
from progcycle.export.snapshot_model import SnapshotModel
from progcycle.export.tensor_images import from_pil, to_pil
from progcycle.export.translator import Translator
from progcycle.export.warm_start import warm_start

__all__ = [
    "MODELS",
    "Autoencoder",
    "BeganGenerator",
    "ExportedFile",
    "Generator",
    "LaplacianGenerator",
    "SnapshotConfig",
    "SnapshotModel",
    "Translator",
    "export_model",
    "find_snapshot",
    "from_pil",
    "join_levels",
    "list_snapshots",
    "load",
    "load_as",
    "pull_model",
    "read_metadata",
    "save_snapshot",
    "to_pil",
    "warm_start",
]
