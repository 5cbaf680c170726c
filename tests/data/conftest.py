"""Fixtures for the tests of ``progcycle.data``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from picture_folders import write_folder

from progcycle.data import PictureSet
from progcycle.recipe import MAX_PIXELS, Pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of seven pictures of 40x36 px."""
    return write_folder(tmp_path / "pictures", 7)


@pytest.fixture
def make_set() -> Callable[..., PictureSet]:
    """Build a set from a path and any ``Pictures`` options; 32 px and no cache by default."""

    def make(path: Path | list[str], domain: str = "real", **options: Any) -> PictureSet:
        given = {"resolution": 32, "seed": 5, "cache_dir": None, "cache_resolution": 64, "max_broken": 0.5}
        given |= {"max_pixels": MAX_PIXELS, "validation": 0.0, "held_out": False, "labels": None, "stage_to": None}
        arguments = {name: options.pop(name, value) for name, value in given.items()}
        paths = path if isinstance(path, list) else [str(path)]
        return PictureSet(domain, Pictures.model_validate(options), paths, **arguments)

    return make
