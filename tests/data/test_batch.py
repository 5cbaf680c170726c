"""The batch and its parts."""

import numpy as np
import pytest
import torch

from progcycle.data import Batch, Sample, collate


def make_batch(count: int = 6) -> Batch:
    images = torch.arange(count * 12, dtype=torch.uint8).reshape(count, 3, 2, 2)
    names = tuple(f"{i}.png" for i in range(count))
    return Batch(images, tuple(range(10, 10 + count)), names, labels=torch.arange(count), broken=("x: bad",))


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_chunks_put_together_are_the_batch(parts):
    batch = make_batch()
    chunks = batch.chunk(parts)
    assert [len(chunk) for chunk in chunks] == [6 // parts] * parts
    assert torch.equal(torch.cat([chunk.images for chunk in chunks]), batch.images)
    assert torch.equal(torch.cat([chunk.labels for chunk in chunks]), batch.labels)
    assert sum((chunk.positions for chunk in chunks), ()) == batch.positions
    assert sum((chunk.names for chunk in chunks), ()) == batch.names
    assert sum((chunk.broken for chunk in chunks), ()) == batch.broken


@pytest.mark.parametrize("parts", [0, -1, 4, 7])
def test_unequal_chunks_are_refused(parts):
    with pytest.raises(ValueError, match=f"6 pictures cannot be cut into {parts} equal parts"):
        make_batch().chunk(parts)


def test_to_moves_all_tensors():
    moved = make_batch().to("meta", non_blocking=True)
    assert moved.images.device.type == moved.labels.device.type == "meta"
    assert moved.names == make_batch().names


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs CUDA")
def test_pin_memory():
    pinned = make_batch().pin_memory()
    assert pinned.images.is_pinned()
    assert pinned.labels.is_pinned()
    assert torch.equal(pinned.to("cuda", non_blocking=True).images.cpu(), make_batch().images)


def test_collate_puts_channels_first_and_names_broken_ones_once():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    batch = collate([Sample(pixels, 4, "a", ("x: bad",)), Sample(pixels + 1, 6, "b", ("x: bad", "y: bad"))])
    assert batch.images.shape == (2, 3, 2, 4)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous()
    assert np.array_equal(batch.images[1].permute(1, 2, 0), pixels + 1)
    assert (batch.positions, batch.names, batch.broken) == ((4, 6), ("a", "b"), ("x: bad", "y: bad"))
    assert batch.labels is None
