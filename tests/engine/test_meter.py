import math

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from progcycle.engine.meter import Meter


@pytest.fixture
def meter() -> Meter:
    return Meter(torch.device("cpu"))


@pytest.fixture
def alone() -> Accelerator:
    return Accelerator()


def _figures(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_means_since_the_last_call(meter: Meter, alone: Accelerator) -> None:
    meter.add(_figures(a=1.0, b=10.0), 0)
    meter.add(_figures(a=2.0, b=20.0), 1)
    assert meter.means(alone) == {"a": 1.5, "b": 15.0}
    assert meter.means(alone) == {}
    meter.add(_figures(a=4.0), 2)
    assert meter.means(alone) == {"a": 4.0}


def test_a_lazy_penalty_leaves_the_means_of_its_neighbours_alone(meter: Meter, alone: Accelerator) -> None:
    for step, loss in enumerate([1.0, 2.0, 3.0, 6.0]):
        lazy = {"penalty": 5.0 + step} if step % 3 == 0 else {}
        meter.add(_figures(loss=loss, **lazy), step)
    assert meter.means(alone) == {"loss": 3.0, "penalty": 6.5}


def test_sums_survive_a_round_trip_in_mid_interval(meter: Meter, alone: Accelerator) -> None:
    meter.add(_figures(a=0.1, b=7.0), 0)
    meter.add(_figures(a=0.2), 1)
    other = Meter(torch.device("cpu"))
    other.load_state_dict(meter.state_dict())
    for each in (meter, other):
        each.add(_figures(a=0.7, b=1.0), 2)
    assert other.means(alone) == meter.means(alone) == pytest.approx({"a": 1 / 3, "b": 4.0})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_update_that_was_not_finite_is_found(meter: Meter, alone: Accelerator, bad: float) -> None:
    meter.add(_figures(a=1.0, b=1.0), 3)
    assert meter.first_non_finite(alone) is None
    meter.add(_figures(a=bad, b=1.0, c=bad), 4)
    meter.add(_figures(a=bad, b=bad), 4)
    meter.add(_figures(a=1.0, b=bad, c=bad), 5)
    assert meter.first_non_finite(alone) == (4, ["a", "c"])
    meter.means(alone)
    assert meter.first_non_finite(alone) == (4, ["a", "c"])  # up until the run stops


def test_what_may_overflow_is_no_trouble_and_stays_out_of_the_means(meter: Meter, alone: Accelerator) -> None:
    meter.add(_figures(norm=2.0, other=math.inf), 0, check=False)
    meter.add(_figures(norm=math.inf, other=math.nan), 1, check=False)
    assert meter.first_non_finite(alone) is None
    assert meter.means(alone) == {"norm": 2.0}
