"""The time that is left: of steps whose times are made up, so that the truth is known."""

from collections.abc import Callable

import pytest

from progcycle.engine.clock import FIXED, TimeLeft
from progcycle.recipe import Schedule
from progcycle.schedule import GrowthSchedule

PLAN = {"stable_kimg": 1, "fade_kimg": 1, "batch_size": {"default": 4, 32: 2}}
# Batch 4 in stages 0 and 1 and 2, batch 2 in stage 3.
STEPS = {0: 250, 1: 500, 2: 500, 3: 1000}


def plan() -> GrowthSchedule:
    return GrowthSchedule(Schedule.model_validate(PLAN), 4, 32)


def train(time_left: TimeLeft, taken: Callable[[int], float], until: int) -> None:
    for nimg, growth in time_left.schedule.steps(time_left.nimg):
        if nimg >= until:
            return
        time_left.step(growth, taken(growth.stage))


def total(taken: Callable[[int], float], first: int = 0) -> float:
    return sum(count * taken(stage) for stage, count in STEPS.items() if stage >= first)


def test_nothing_is_known_before_the_first_step() -> None:
    assert TimeLeft(plan()).left() is None


def test_until_efforts_are_measured_a_doubling_doubles_the_cost_of_a_picture() -> None:
    assert TimeLeft(plan()).cost == {0: 16, 1: 32, 2: 64, 3: 64}


@pytest.mark.parametrize("fixed", [0.0, 0.004, 0.05])
def test_two_measured_stages_tell_what_later_ones_take(fixed: float) -> None:
    time_left = TimeLeft(plan())
    time_left.cost = {0: 1.0, 1: 3.0, 2: 9.5, 3: 12.0}

    def taken(stage: int) -> float:
        return fixed + 0.002 * time_left.cost[stage]

    train(time_left, taken, 3000)  # the end of the second stage
    assert time_left.left() == pytest.approx(total(taken, 2))
    train(time_left, taken, 6000)
    assert time_left.left() == pytest.approx(500 * taken(3))
    train(time_left, taken, 7000)
    assert time_left.left() == 0


def test_with_one_stage_a_share_of_its_step_is_taken_to_be_fixed() -> None:
    time_left = TimeLeft(plan())
    time_left.cost = {0: 1.0, 1: 3.0, 2: 9.0, 3: 12.0}
    train(time_left, lambda _: 0.01, 1000)
    costs = {stage: 0.01 * (FIXED + (1 - FIXED) * effort) for stage, effort in time_left.cost.items()}
    assert time_left.left() == pytest.approx(total(costs.__getitem__, 1))


def test_a_machine_that_became_slower_is_slower_in_later_stages_too() -> None:
    time_left = TimeLeft(plan())
    time_left.cost = {0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0}
    train(time_left, lambda stage: 0.01 * time_left.cost[stage], 3000)
    train(time_left, lambda stage: 0.03 * time_left.cost[stage], 4600)  # 400 steps of the third stage
    left = time_left.left()
    assert left is not None
    rest = 100 * 0.12
    assert rest + 1000 * 0.12 <= left <= rest + 1000 * 0.24 + 1e-6  # the last stage: once to twice


def test_the_first_step_of_a_stage_is_slow_and_does_not_count() -> None:
    time_left = TimeLeft(plan())
    train(time_left, lambda _: 100.0, 4)
    assert time_left.steps[0].value == 100
    train(time_left, lambda _: 0.5, 400)
    assert time_left.steps[0].value == pytest.approx(0.5)


def test_what_goes_on_beside_the_steps_is_counted_in() -> None:
    time_left = TimeLeft(GrowthSchedule(Schedule(start_resolution=32, total_kimg=8, batch_size={"default": 4}), 4, 32))
    train(time_left, lambda _: 0.5, 4000)
    assert time_left.left() == pytest.approx(500)
    time_left.add_overhead(250)  # half of what training took
    assert time_left.left() == pytest.approx(750)


def test_stages_that_do_not_differ_cost_the_same() -> None:
    time_left = TimeLeft(plan())
    time_left.cost = {0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0}
    train(time_left, lambda _: 0.02, 3000)
    assert time_left.left() == pytest.approx(1500 * 0.02, rel=1e-6)
