"""Samples and batches: pictures on their way from files to networks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture, ready for a batch.

    Attributes:
        image: pixels, uint8, uint16 or float32 (see :class:`progcycle.data.levels.Levels`).  # [H, W, C]
        position: global sample index (or the index in name order, for pictures read plainly).
        name: name of the picture the pixels come from.
        broken: one sentence for each picture that could not be read and was skipped.
        label: number of its class, or None.
    """

    image: np.ndarray
    position: int
    name: str
    broken: tuple[str, ...] = ()
    label: int | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of one domain.

    Attributes:
        images: uint8, uint16 or float32 from the loader, float32 in [-1, 1] after ``as_reals``.  # [N, C, H, W]
        positions: global sample index of each row.
        names: name of each row's picture.
        labels: number of each row's class, or None.  # [N] int64
        broken: one sentence for each picture that could not be read and was replaced.
    """

    images: Tensor
    positions: tuple[int, ...]
    names: tuple[str, ...]
    labels: Tensor | None = None
    broken: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.positions)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch with its tensors on ``device``."""
        return self._with_tensors("to", device, non_blocking=non_blocking)

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory; ``DataLoader(pin_memory=True)`` calls this."""
        return self._with_tensors("pin_memory")

    def _with_tensors(self, method: str, *args: Any, **kwargs: Any) -> "Batch":
        labels = None if self.labels is None else getattr(self.labels, method)(*args, **kwargs)
        return replace(self, images=getattr(self.images, method)(*args, **kwargs), labels=labels)

    def chunk(self, parts: int) -> list["Batch"]:
        """The batch in ``parts`` equal parts; the sentences about broken pictures stay with the first.

        Raises:
            ValueError: the pictures cannot be shared out equally.
        """
        if parts < 1 or len(self) % parts:
            raise ValueError(f"a batch of {len(self)} pictures cannot be cut into {parts} equal parts")
        size = len(self) // parts
        return [
            replace(
                self,
                images=self.images[start : start + size],
                positions=self.positions[start : start + size],
                names=self.names[start : start + size],
                labels=None if self.labels is None else self.labels[start : start + size],
                broken=self.broken if start == 0 else (),
            )
            for start in range(0, size * parts, max(size, 1))
        ]


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size into a batch; a broken picture is named once.

    Raises:
        ValueError: there are no samples, their sizes differ, or only some of them have labels.
    """
    pixels = torch.from_numpy(np.stack([sample.image for sample in samples]))  # [N, H, W, C]
    labels = [sample.label for sample in samples if sample.label is not None]
    if labels and len(labels) != len(samples):
        raise ValueError(f"{len(labels)} of {len(samples)} samples have labels")
    return Batch(
        images=pixels.permute(0, 3, 1, 2).contiguous(),  # [N, C, H, W]
        positions=tuple(sample.position for sample in samples),
        names=tuple(sample.name for sample in samples),
        labels=torch.tensor(labels, dtype=torch.int64) if labels else None,
        broken=tuple(dict.fromkeys(sentence for sample in samples for sentence in sample.broken)),
    )
