"""What the snapshots of a run are compared on: inputs that stay the same from snapshot to snapshot."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from PIL import Image

from progcycle.export.config import SnapshotConfig


@dataclass
class Examples(ABC):
    """Inputs of one run, and what a model makes of them.

    A task's own class adds fields, which are options for its users.

    Attributes:
        config: of the run's newest snapshot.
        count: how many pictures, at most.
        side: pixels of a tile that they are shown in.
        batch_size: pictures computed at a time.
    """

    config: SnapshotConfig
    count: int = 8
    side: int = 128
    batch_size: int = 16

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Names of the fields that a task's own class adds."""
        shared = {field.name for field in fields(Examples)}
        return tuple(field.name for field in fields(cls) if field.init and field.name not in shared)

    @property
    @abstractmethod
    def words(self) -> str:
        """What they are, in a few words, such as ``seed 0``."""

    @property
    def source_name(self) -> str:
        """What the sources are, in a word or two."""
        return ""

    @property
    def sources(self) -> Sequence[Image.Image]:
        """Pictures that go into the networks, to be shown next to what comes out; none by default."""
        return ()

    @abstractmethod
    def made_by(self, model: Any, resolution: int | None = None) -> list[Image.Image]:
        """What a snapshot's model makes of them.

        Args:
            model: of the snapshot.
            resolution: of an earlier stage; default: the snapshot's own.
        """

    def columns(self, model: Any) -> list[str] | None:
        """What each of the pictures is, in words; None by default."""
        return None
