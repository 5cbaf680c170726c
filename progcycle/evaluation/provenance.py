"""Origin of figures, for their records: the snapshot, and the versions of the libraries."""

import importlib
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle import __version__
from progcycle.export.run_files import evaluation_file

if TYPE_CHECKING:
    from progcycle.export.config import SnapshotConfig
    from progcycle.export.snapshot_model import SnapshotModel


def origin(snapshot: Path, config: "SnapshotConfig") -> dict[str, Any]:
    """The snapshot and its growth, for records of figures."""
    growth = {name: getattr(config, name) for name in ("nimg", "resolution", "stage", "alpha")}
    return {"snapshot": str(snapshot), **growth, "resolution": config.resolution.label}


def versions(*libraries: str) -> dict[str, str]:
    """Versions of progcycle, torch, the libraries named and Python, for records of figures."""
    numbers = {name: str(importlib.import_module(name).__version__) for name in ("torch", *libraries)}
    return {"progcycle": __version__, **numbers, "python": platform.python_version()}


def default_path(run: Path, model: "SnapshotModel") -> Path:
    """The JSON file of a model's figures in its run folder."""
    return evaluation_file(run, model.config.nimg)
