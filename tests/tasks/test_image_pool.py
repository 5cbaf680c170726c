"""The pool of earlier fakes."""

import pytest
import torch
from torch import Tensor

from progcycle.tasks import ImagePool


def numbered(first: int, count: int) -> Tensor:
    """Pictures that are told apart by their grey level."""
    return torch.arange(first, first + count).float().reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()


def levels(pictures: Tensor) -> list[int]:
    return [int(level) for level in pictures[:, 0, 0, 0].tolist()]


def test_pool_returns_new_fakes_while_it_fills() -> None:
    pool = ImagePool(6, 0, "a")
    assert levels(pool.query(numbered(0, 4), range(4))) == [0, 1, 2, 3]
    assert levels(pool.query(numbered(4, 2), range(4, 6))) == [4, 5]
    assert levels(torch.stack(pool.pictures)) == list(range(6))


def test_full_pool_exchanges_half_of_the_fakes_for_random_earlier_ones() -> None:
    pool = ImagePool(50, 0, "a")
    out = [levels(pool.query(numbered(i, 1), [i]))[0] for i in range(2050)]
    assert out[:50] == list(range(50))
    new = sum(level == i for i, level in enumerate(out[50:], 50))
    assert 900 < new < 1100  # 2000 throws of a coin: 4.5 standard deviations
    held = set(levels(torch.stack(pool.pictures)))
    assert len(held) == 50
    assert held | set(out) == set(range(2050)), "no fake is lost"
    ages = [i - level for i, level in enumerate(out) if level != i]
    assert sum(ages) / len(ages) == pytest.approx(100, rel=0.25), "50 places, left with probability 1/2 x 1/50"


def test_exchange_returns_the_picture_whose_place_is_taken() -> None:
    pool = ImagePool(3, 0, "a")
    pool.query(numbered(0, 3), range(3))
    for i in range(3, 60):
        before = levels(torch.stack(pool.pictures))
        (out,) = levels(pool.query(numbered(i, 1), [i]))
        after = levels(torch.stack(pool.pictures))
        if out == i:
            assert after == before
        else:
            place = before.index(out)
            assert after == [*before[:place], i, *before[place + 1 :]]


def test_outcome_is_a_function_of_seed_name_and_positions() -> None:
    def run(seed: int, name: str, split: int) -> list[int]:
        pool = ImagePool(4, seed, name)
        return [
            level
            for i in range(0, 48, split)
            for level in levels(pool.query(numbered(i, split), range(100 + i, 100 + i + split)))
        ]

    assert run(0, "a", 8) == run(0, "a", 4) == run(0, "a", 1)
    assert run(0, "a", 8) != run(1, "a", 8)
    assert run(0, "a", 8) != run(0, "b", 8)


def test_size_zero_returns_the_fakes_themselves() -> None:
    pool, fakes = ImagePool(0, 0, "a"), numbered(0, 4)
    assert pool.query(fakes, range(4)) is fakes
    assert pool.state_dict() == {}


def test_clear_starts_again() -> None:
    pool = ImagePool(2, 0, "a")
    pool.query(numbered(0, 2), range(2))
    pool.clear()
    larger = torch.ones(2, 3, 4, 4)
    assert torch.equal(pool.query(larger, range(2, 4)), larger)


def test_state_survives_the_round_trip() -> None:
    one, two = ImagePool(4, 0, "a"), ImagePool(4, 0, "a")
    one.query(numbered(0, 20), range(20))
    two.load_state_dict(one.state_dict())
    for i in range(20, 40, 4):
        assert levels(one.query(numbered(i, 4), range(i, i + 4))) == levels(two.query(numbered(i, 4), range(i, i + 4)))
    two.load_state_dict({})
    assert two.pictures == []


def test_pool_keeps_its_own_copies() -> None:
    pool, fakes = ImagePool(2, 0, "a"), numbered(0, 20)
    pool.query(fakes, range(20))
    held = levels(torch.stack(pool.pictures))
    assert max(held) > 1, "something was exchanged"
    state = pool.state_dict()
    fakes.fill_(99)
    assert levels(torch.stack(pool.pictures)) == held
    pool.load_state_dict(state)
    state["pictures"].fill_(99)
    assert levels(torch.stack(pool.pictures)) == held


def test_every_picture_needs_a_position() -> None:
    with pytest.raises(ValueError, match="zip"):
        ImagePool(4, 0, "a").query(numbered(0, 2), [0])
