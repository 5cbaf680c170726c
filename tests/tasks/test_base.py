"""What every task says of itself: its memories, and what status lines show of its figures."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from progcycle.tasks import Memory, Task


class Kept:
    """Whatever it is given."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Tensor]:
        return self.state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.state = dict(state)


class Remembering(Task):
    """A task with two memories, of which one is common, whatever their names."""

    players = {"encoder": (), "generator": ()}  # noqa: RUF012
    symbols = {"generator": "G"}  # noqa: RUF012
    terms = {"codes": ("code/a", "code/b")}  # noqa: RUF012

    def __init__(self) -> None:
        self.noise, self.mean = Kept(), Kept()

    def loss(self, *_: Any) -> Any:
        raise AssertionError

    panel = sample = loss

    def memories(self) -> dict[str, Memory]:
        return {"noise": Memory(self.noise), "mean_of_all": Memory(self.mean, common=True)}


def test_the_task_says_what_is_common_and_not_the_name() -> None:
    one, other = Remembering(), Remembering()
    one.noise.state, one.mean.state = {"x": torch.ones(2)}, {"x": torch.ones(1), "y.z": torch.zeros(1)}
    state = one.state_dict()
    assert state.keys() == {"noise.x", "mean_of_all.x", "mean_of_all.y.z"}
    other.load_state_dict(state)
    assert other.noise.state.keys() == {"x"}
    assert other.mean.state.keys() == {"x", "y.z"}
    other.load_state_dict(one.common_state(state))
    assert other.noise.state == {}, "each process has its own, and another number of them begins without"
    assert other.mean.state == one.mean.state
    with pytest.raises(ValueError, match=r"unknown task state: \['pool.x'\]"):
        other.load_state_dict({**state, "pool.x": torch.zeros(1)})


def test_the_status_line_shows_the_losses_of_all_players_and_the_terms() -> None:
    figures = {
        "loss/generator": 1.0,
        "code/b": 4.0,
        "code/a": 2.0,
        "loss/encoder": 3.0,
        "loss/else": 5.0,
        "code/c": 9.0,
    }
    assert list(Remembering().status(figures).items()) == [("encoder", 3.0), ("G", 1.0), ("codes", 3.0)]
    assert Remembering().status({"code/b": 4.0}) == {"codes": 4.0}
