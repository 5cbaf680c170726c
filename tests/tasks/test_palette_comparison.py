"""What the palette loss is given in training: reduced pictures, with those of earlier batches."""

import torch

from progcycle.objectives import palette_loss
from progcycle.rng import normal
from progcycle.tasks.palette_comparison import DIRECTIONS, PaletteComparison


def pictures(seed: int, side: int = 16) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.rand(2, 3, side, side)


def expected(fake: torch.Tensor, earlier: torch.Tensor | None, real: torch.Tensor, position: int) -> torch.Tensor:
    along = normal(5, "palette/b", [position], 3 * DIRECTIONS).reshape(DIRECTIONS, 3)
    return palette_loss(fake, earlier, real, torch.nn.functional.normalize(along, dim=1))


def test_a_batch_is_ranked_with_as_many_earlier_pictures_as_the_queue_holds() -> None:
    palettes = PaletteComparison(3, 5, "b")
    reals, fakes = [pictures(i) for i in range(4)], [pictures(10 + i) for i in range(4)]
    losses = [palettes.loss(reals[i], fakes[i], [2 * i, 2 * i + 1]) for i in range(4)]
    torch.testing.assert_close(losses[0], expected(fakes[0], None, reals[0], 0))
    torch.testing.assert_close(losses[1], expected(fakes[1], fakes[0], torch.cat(reals[:2]), 2))
    old_fakes, old_reals = (torch.cat(kind[:3])[-3:] for kind in (fakes, reals))
    torch.testing.assert_close(losses[3], expected(fakes[3], old_fakes, torch.cat([reals[3], old_reals]), 6))


def test_larger_pictures_are_reduced_first() -> None:
    real, fake = pictures(0, 64), pictures(1, 64)
    small = [torch.nn.functional.avg_pool2d(x, 4) for x in (real, fake)]
    loss = PaletteComparison(0, 5, "b").loss(real, fake, [0, 1])
    torch.testing.assert_close(loss, expected(small[1], None, small[0], 0))


def test_without_a_queue_a_batch_stands_alone_and_cleared_ones_begin_anew() -> None:
    alone, kept = PaletteComparison(0, 5, "b"), PaletteComparison(8, 5, "b")
    for comparison in (alone, kept):
        comparison.loss(pictures(0), pictures(1), [0, 1])
    assert not alone.state_dict()
    assert sorted(kept.state_dict()) == ["fake", "real"]
    kept.clear()
    assert torch.equal(alone.loss(pictures(2), pictures(3), [2, 3]), kept.loss(pictures(2), pictures(3), [2, 3]))


def test_it_goes_on_from_its_state() -> None:
    one, two = PaletteComparison(4, 5, "b"), PaletteComparison(4, 5, "b")
    one.loss(pictures(0), pictures(1), [0, 1])
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.loss(pictures(2), pictures(3), [2, 3]), two.loss(pictures(2), pictures(3), [2, 3]))
