"""Files of weights, written and imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from progcycle.export import load
from progcycle.importers import import_weights


def as_model(tmp_path: Path, files: Mapping[str, Any], **options: Any) -> Any:
    """What files of these names become, in float64; ``tmp_path / "out"`` is its folder."""
    for name, state in files.items():
        torch.save(state, tmp_path / name)
    import_weights([tmp_path / name for name in files], tmp_path / "out", **options)
    return load(tmp_path / "out").double()
