"""The growth plan: hand-computed plans, properties of any plan, and plans that are refused."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progcycle.errors import UserError
from progcycle.recipe import Schedule, by_resolution
from progcycle.schedule import GrowthSchedule


def make(base: int = 4, resolution: int = 16, **options: Any) -> GrowthSchedule:
    return GrowthSchedule(Schedule(**options), base, resolution)


def phases(schedule: GrowthSchedule) -> list[tuple[str, int, int, int, int]]:
    return [(p.kind, p.stage, p.resolution, p.start, p.end) for p in schedule.phases]


# --- plans by hand ------------------------------------------------------------------------------------------------


def test_plan_is_stable_first_then_fade_and_stable_for_every_doubling() -> None:
    schedule = make(stable_kimg={"default": 2, 8: 1}, fade_kimg={8: 0.5, 16: 3})
    assert phases(schedule) == [
        ("stable", 0, 4, 0, 2000),
        ("fade", 1, 8, 2000, 2500),
        ("stable", 1, 8, 2500, 3500),
        ("fade", 2, 16, 3500, 6500),
        ("stable", 2, 16, 6500, 8500),
    ]
    assert schedule.total == 8500
    assert len(schedule.table().splitlines()) == 6


def test_alpha_by_hand() -> None:
    schedule = make(stable_kimg=2, fade_kimg=4)
    expected = {0: 1.0, 1999: 1.0, 2000: 0.0, 3000: 0.25, 5000: 0.75, 5999: 3999 / 4000, 6000: 1.0, 8000: 0.0}
    assert {n: schedule.at(n).alpha for n in expected} == expected
    assert [schedule.at(n).stage for n in (0, 1999, 2000, 7999, 8000)] == [0, 0, 1, 1, 2]
    assert [schedule.at(n).fading for n in (0, 2000, 6000, 8000)] == [False, True, False, True]


# Karras et al.'s presets (600 or 800 kimg each way); official totals stretch the last phase.
PRESETS = {
    "paper": (800, 19000, {"default": 16, 256: 14, 512: 6, 1024: 3}, 1.0),
    "v2-8gpus": (
        600,
        12000,
        {"default": 32, 4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
        {"default": 1.0, 128: 1.5, 256: 2.0, 512: 3.0, 1024: 3.0},
    ),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_official_presets(preset: str) -> None:
    length, total, batches, scales = PRESETS[preset]
    schedule = make(
        4, 1024, stable_kimg=length, fade_kimg=length, total_kimg=total, batch_size=batches, lr_scale=scales
    )
    sides = [4 << i for i in range(9)]
    assert [(p.kind, p.resolution) for p in schedule.phases] == [
        ("stable", 4),
        *((kind, side) for side in sides[1:] for kind in ("fade", "stable")),
    ]
    assert [p.start for p in schedule.phases] == [1000 * length * i for i in range(17)]
    assert schedule.phases[-1].end == 1000 * total
    for phase in schedule.phases:
        growth = schedule.at(phase.start)
        assert growth.batch_size == by_resolution(batches, phase.resolution)
        assert growth.lr_scale == (scales if scales == 1.0 else by_resolution(scales, phase.resolution))


def test_last_fade_may_be_followed_by_a_stable_phase_that_only_total_asks_for() -> None:
    schedule = make(4, 8, stable_kimg={4: 1, 8: 0}, fade_kimg=1, total_kimg=5, batch_size={4: 8, 8: 2})
    assert phases(schedule)[1:] == [("fade", 1, 8, 1000, 2000), ("stable", 1, 8, 2000, 5000)]
    assert schedule.final.alpha == 1
    assert schedule.final.batch_size == 2


def test_phases_without_pictures_are_left_out() -> None:
    schedule = make(4, 16, stable_kimg={4: 0, 8: 0, 16: 1}, fade_kimg={8: 0, 16: 2})
    assert phases(schedule) == [("fade", 2, 16, 0, 2000), ("stable", 2, 16, 2000, 3000)]


def test_no_growth() -> None:
    schedule = make(4, 64, start_resolution=64, stable_kimg=3, fade_kimg=5)
    assert phases(schedule) == [("stable", 4, 64, 0, 3000)]
    assert {schedule.at(n).alpha for n in range(3000)} == {1.0}


def test_start_resolution_between_base_and_end_keeps_the_stage_numbers_of_the_networks() -> None:
    schedule = make(4, 64, start_resolution=16, stable_kimg={16: 1, 32: 1, 64: 1}, fade_kimg={32: 1, 64: 1})
    assert [(p.kind, p.stage, p.resolution) for p in schedule.phases] == [
        ("stable", 2, 16),
        ("fade", 3, 32),
        ("stable", 3, 32),
        ("fade", 4, 64),
        ("stable", 4, 64),
    ]


@pytest.mark.parametrize("hold", [4, 8, 16, 32])
def test_a_schedule_that_holds_is_that_of_networks_that_end_there(hold: int) -> None:
    options: dict[str, Any] = {
        "stable_kimg": {"default": 2, 8: 1},
        "fade_kimg": {"default": 3, 16: 0.5},
        "batch_size": {"default": 4, 16: 2},
        "rampup_kimg": 1,
        "decay_kimg": 2,
    }
    for more in ({}, {"total_kimg": 30}, {"start_resolution": 4}):
        held = make(4, 32, **options, **more, hold_resolution=hold)
        short = make(4, hold, **options, **more)
        assert held.phases == short.phases
        assert held.total == short.total
        assert held.final == short.final
        assert held.final.resolution == hold
        assert [held.at(n) for n in range(0, held.total, 97)] == [short.at(n) for n in range(0, held.total, 97)]


def test_a_schedule_that_holds_by_hand() -> None:
    schedule = make(4, 64, stable_kimg=2, fade_kimg=1, start_resolution=8, hold_resolution=16, total_kimg=9)
    assert phases(schedule) == [("stable", 1, 8, 0, 2000), ("fade", 2, 16, 2000, 3000), ("stable", 2, 16, 3000, 9000)]
    assert make(4, 64, stable_kimg=2, fade_kimg=1, start_resolution=8, hold_resolution=16).total == 5000
    same = make(4, 64, stable_kimg=2, start_resolution=16, hold_resolution=16)
    assert phases(same) == [("stable", 2, 16, 0, 2000)]


def test_a_schedule_that_holds_needs_no_values_for_what_comes_after() -> None:
    make(4, 64, stable_kimg={4: 1, 8: 1}, fade_kimg={8: 1}, batch_size={4: 1, 8: 1}, hold_resolution=8)


def test_fades_without_stable_phases_follow_each_other() -> None:
    schedule = make(4, 32, stable_kimg={4: 1, 8: 0, 16: 0, 32: 2}, fade_kimg=1)
    assert phases(schedule) == [
        ("stable", 0, 4, 0, 1000),
        ("fade", 1, 8, 1000, 2000),
        ("fade", 2, 16, 2000, 3000),
        ("fade", 3, 32, 3000, 4000),
        ("stable", 3, 32, 4000, 6000),
    ]
    alphas = [schedule.at(n).alpha for n in (1000, 1999, 2000, 2500, 2999, 3000)]
    assert alphas == [0.0, 0.999, 0.0, 0.5, 0.999, 0.0]
    assert all(schedule.at(n).fading for n in (1000, 1999, 2000, 3999))


def test_real_pictures_fade_unless_the_schedule_says_otherwise() -> None:
    for fade_reals in (True, False):
        schedule = make(stable_kimg=1, fade_kimg=1, fade_reals=fade_reals)
        assert {schedule.at(n).fade_reals for n in (0, 1500, 2500, 99999)} == {fade_reals}
    assert make(stable_kimg=1, fade_kimg=1).at(0).fade_reals


# --- layers of earlier stages -------------------------------------------------------------------------------------


def test_layers_of_earlier_stages_are_slow_for_a_share_of_a_stage() -> None:
    options: dict[str, Any] = {"stable_kimg": 2, "fade_kimg": 4, "old_layers": {"share": 0.25, "lr_scale": 0.1}}
    schedule = make(4, 16, **options)
    # 8 px: 2,000 to 8,000, a quarter of that to 3,500. 16 px: 8,000 to 14,000, to 9,500.
    expected = {0: 1.0, 1999: 1.0, 2000: 0.1, 3499: 0.1, 3500: 1.0, 7999: 1.0, 8000: 0.1, 9499: 0.1, 9500: 1.0}
    assert {n: schedule.at(n).old_lr_scale for n in expected} == expected
    assert {schedule.at(n).lr_scale for n in expected} == {1.0}
    assert schedule.opening(schedule.at(2000)) == ", layers of earlier stages learn at 0.1 of the rate up to 3.5 kimg"
    longer = make(4, 16, **options, total_kimg=20)  # 16 px: to 20,000, a quarter of that to 11,000
    assert (longer.at(10999).old_lr_scale, longer.at(11000).old_lr_scale) == (0.1, 1.0)
    assert make(4, 16, start_resolution=16, **options).at(0).old_lr_scale == 1.0, "there are none"
    still = make(4, 16, **{**options, "new_stage": "copy", "old_layers": {}})
    words = ", as a copy of the stage before, layers of earlier stages stand still up to 3.2 kimg"
    assert still.opening(still.at(2000)) == words
    assert make(stable_kimg=1, fade_kimg=1).opening(make(stable_kimg=1, fade_kimg=1).at(1000)) == ""


# --- growth by size -----------------------------------------------------------------------------------------------


def test_by_size_only_the_pictures_grow() -> None:
    options: dict[str, Any] = {"stable_kimg": 2, "fade_kimg": 4, "start_resolution": 8}
    schedule = make(4, 32, growth="size", **options)
    assert phases(schedule) == [
        ("stable", 1, 8, 0, 2000),
        ("fade", 2, 16, 2000, 6000),
        ("stable", 2, 16, 6000, 8000),
        ("fade", 3, 32, 8000, 12000),
        ("stable", 3, 32, 12000, 14000),
    ]
    growths = {n: schedule.at(n) for n in (0, 2000, 3000, 6000, 9000, 13999)}
    # From 4 to 32 px the networks have the stages 0 to 3, and they are whole from the first picture on.
    assert {(g.stage, g.alpha) for g in growths.values()} == {(3, 1.0)}
    assert [g.resolution for g in growths.values()] == [8, 16, 16, 16, 32, 32]
    assert [g.plan_stage for g in growths.values()] == [1, 2, 2, 2, 3, 3]
    assert [g.progress for g in growths.values()] == [1.0, 0.0, 0.25, 1.0, 0.25, 1.0]
    assert [g.reals_alpha for g in growths.values()] == [1.0, 0.0, 0.25, 1.0, 0.25, 1.0]
    by_layers = make(4, 32, **options)
    assert [by_layers.at(n).progress for n in growths] == [g.progress for g in growths.values()]
    assert [by_layers.at(n).plan_stage for n in growths] == [g.plan_stage for g in growths.values()]
    assert by_layers.phases == schedule.phases
    assert by_layers.first_difference(schedule, 14000) == 0


def test_by_size_training_may_start_below_the_base_of_the_networks() -> None:
    schedule = make(16, 32, growth="size", stable_kimg=1, fade_kimg=0, start_resolution=4, hold_resolution=16)
    assert phases(schedule) == [("stable", 0, 4, 0, 1000), ("stable", 1, 8, 1000, 2000), ("stable", 2, 16, 2000, 3000)]
    assert {schedule.at(n).stage for n in (0, 1000, 2999)} == {1}


def test_sharp_pictures_of_growth_by_size_are_asked_for_by_fades_of_no_length() -> None:
    with pytest.raises(ValueError, match="set fade_kimg: 0"):
        make(4, 32, growth="size", fade_reals=False)


# --- learning rate ------------------------------------------------------------------------------------------------


def test_ramp_up_is_that_of_the_original_code() -> None:
    schedule = make(stable_kimg=100, fade_kimg=100, rampup_kimg=40, lr_scale={"default": 1, 4: 2})
    for kimg in (0, 10, 20, 39):
        expected = 2 * math.exp(-5 * (1 - kimg / 40) ** 2)
        assert schedule.at(1000 * kimg).lr_scale == pytest.approx(expected)
    assert schedule.at(40_000).lr_scale == 2
    assert schedule.at(100_000).lr_scale == 1, "once, at the start"


def test_stage_ramp_up_begins_anew_whenever_a_stage_opens() -> None:
    schedule = make(stable_kimg=1, fade_kimg=1, stage_rampup_kimg=1.5)
    assert schedule.at(0).lr_scale == 1, "the first stage has rampup_kimg"
    for opened in (1000, 3000):
        for n in (0, 500, 1200):
            assert schedule.at(opened + n).lr_scale == pytest.approx(math.exp(-5 * (1 - n / 1500) ** 2))
        assert schedule.at(opened + 1500).lr_scale == 1


def test_linear_decay_falls_to_zero_at_the_end() -> None:
    schedule = make(stable_kimg=2, fade_kimg=1, decay_kimg=2)
    end = schedule.total
    assert schedule.at(end - 2001).lr_scale == 1
    assert schedule.at(end - 1000).lr_scale == pytest.approx(0.5)
    assert schedule.at(end - 1).lr_scale == pytest.approx(0.0005)
    assert schedule.at(end).lr_scale == 0


@pytest.mark.parametrize("decay", [0, 1])
def test_after_the_end_growth_stays_as_it_is(decay: float) -> None:
    schedule = make(stable_kimg=2, fade_kimg=1, decay_kimg=decay)
    late = schedule.at(schedule.total + 7)
    assert (late.stage, late.alpha, late.lr_scale) == (2, 1.0, 0.0 if decay else 1.0)


# --- properties ---------------------------------------------------------------------------------------------------

kimg = st.floats(0.001, 3).map(lambda value: round(value, 3))


@st.composite
def plans(draw: st.DrawFn) -> GrowthSchedule:
    first, start, last = sorted(draw(st.integers(2, 6)) for _ in range(3))
    sides = [2**i for i in range(start, last + 1)]
    options: dict[str, Any] = {
        "start_resolution": 2**start,
        "stable_kimg": {side: draw(kimg) for side in sides},
        "fade_kimg": {side: draw(kimg) for side in sides},
        "batch_size": {side: draw(st.integers(1, 300)) for side in sides},
        "rampup_kimg": draw(st.floats(0, 2)),
        "stage_rampup_kimg": draw(st.floats(0, 2)),
        "decay_kimg": draw(st.floats(0, 2)),
    }
    grown = sum(options["stable_kimg"].values()) + sum(options["fade_kimg"].values())
    if draw(st.booleans()):
        options["total_kimg"] = grown + draw(kimg)
    return make(2**first, 2**last, **options)


@given(plans())
@settings(max_examples=60, deadline=None)
def test_phases_tile_the_plan(schedule: GrowthSchedule) -> None:
    ends = [0, *(p.end for p in schedule.phases)]
    assert [p.start for p in schedule.phases] == ends[:-1]
    assert ends[-1] == schedule.total
    assert all(p.start < p.end for p in schedule.phases)
    assert schedule.final.alpha == 1


@given(plans())
@settings(max_examples=60, deadline=None)
def test_alpha_is_continuous_and_starts_every_fade_at_zero(schedule: GrowthSchedule) -> None:
    for phase in schedule.phases:
        first, last = schedule.at(phase.start), schedule.at(phase.end - 1)
        if phase.kind == "stable":
            assert first.alpha == last.alpha == 1
            continue
        length = phase.end - phase.start
        assert first.alpha == 0
        assert last.alpha == pytest.approx(1 - 1 / length), "one picture before the stable phase, whose alpha is 1"
        middle = phase.start + length // 2
        assert schedule.at(middle).alpha == pytest.approx((length // 2) / length)


@given(plans())
@settings(max_examples=40, deadline=None)
def test_steps_cover_the_plan_and_the_stage_never_falls(schedule: GrowthSchedule) -> None:
    expected, growths = 0, []
    for nimg, growth in schedule.steps():
        assert nimg == expected == growth.nimg
        assert 0 < growth.lr_scale <= 1
        assert growth == schedule.at(nimg)
        growths.append(growth)
        expected += growth.batch_size
    assert schedule.total <= expected < schedule.total + growths[-1].batch_size
    stages = [growth.stage for growth in growths]
    assert stages == sorted(stages)
    assert all(g.resolution == schedule.phases[-1].resolution >> (schedule.phases[-1].stage - g.stage) for g in growths)


def test_steps_can_begin_and_end_anywhere() -> None:
    schedule = make(batch_size=4, stable_kimg=1, fade_kimg=1)
    assert [nimg for nimg, _ in schedule.steps(8, 20)] == [8, 12, 16]
    assert list(schedule.steps(schedule.total)) == []


def test_negative_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative, got -1"):
        make().at(-1)


# --- plans that cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"stable_kimg": 1, "fade_kimg": 1, "total_kimg": 4},
            "schedule.total_kimg: training ends at 4 kimg, but 16 px",
        ),
        ({"stable_kimg": 1, "fade_kimg": 1, "total_kimg": 0.5}, "is grown only after 4 kimg"),
        ({"stable_kimg": 1, "fade_kimg": 0, "total_kimg": 0.5}, "training ends at 0.5 kimg, but 16 px is grown only"),
        ({"stable_kimg": {"default": 1, 16: 0}, "fade_kimg": 1}, "training ends at 4 kimg"),
        ({"stable_kimg": 0, "fade_kimg": 0}, "every phase has a length of 0"),
        ({"stable_kimg": {"default": 1, 16: 0}, "fade_kimg": 0}, "16 px has neither a fade nor a stable phase"),
        (
            {"start_resolution": 32},
            "schedule.start_resolution: 32 must be at most the resolution 16",
        ),
        ({"base": 8, "start_resolution": 4}, "schedule.start_resolution: 4 is below network.base_resolution"),
        ({"hold_resolution": 32}, "schedule.hold_resolution: 32 is above the resolution, which is 16."),
        (
            {"start_resolution": 16, "hold_resolution": 8},
            "schedule.hold_resolution: 8 is below the resolution where training starts, 16.",
        ),
        ({"base": 8, "hold_resolution": 4}, "schedule.hold_resolution: 4 is below the resolution where training star"),
        (
            {"stable_kimg": 1, "fade_kimg": 1, "hold_resolution": 8, "total_kimg": 2},
            "schedule.total_kimg: training ends at 2 kimg, but 8 px is grown only after 2 kimg",
        ),
        (
            {"stable_kimg": {"default": 1, 8: 0}, "fade_kimg": 0, "hold_resolution": 8},
            "8 px has neither a fade nor a stable phase",
        ),
        ({"base": 32}, "network.base_resolution: 32 must be at most"),
        ({"base": 6, "resolution": 32}, "network.base_resolution: 6 px doubled again and again never become"),
        ({"stable_kimg": {4: 1, 8: 1}}, "schedule.stable_kimg: there is no value for 16 px and no default"),
        ({"fade_kimg": {16: 1}}, "schedule.fade_kimg: there is no value for 8 px and no default"),
        ({"batch_size": {8: 1, 16: 1}}, "schedule.batch_size: there is no value for 4 px and no default"),
        ({"lr_scale": {4: 1}}, "schedule.lr_scale: there is no value for 8 px and no default"),
    ],
)
def test_impossible_plans_are_refused_in_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        make(**arguments)
    message = str(caught.value)
    assert sentence in message
    assert "\n" not in message
    assert message.endswith(".")


def test_first_resolution_needs_no_fade_and_unused_ones_no_values() -> None:
    make(4, 8, stable_kimg={4: 1, 8: 1}, fade_kimg={8: 1}, batch_size={4: 1, 8: 1})
    make(4, 8, start_resolution=8, stable_kimg={8: 1}, fade_kimg={16: 1}, batch_size={8: 1})


# --- two plans ----------------------------------------------------------------------------------------------------


def first_difference(one: GrowthSchedule, other: GrowthSchedule, end: int) -> int | None:
    """Step by step."""
    steps = [dict(plan.steps()) for plan in (one, other)]
    return next(
        (nimg for nimg in sorted({*steps[0], *steps[1]}) if nimg < end and steps[0].get(nimg) != steps[1].get(nimg)),
        None,
    )


CHANGES: dict[str, Any] = {
    "stable_kimg": lambda plan, draw: {**plan, max(plan): draw(kimg)},
    "fade_kimg": lambda plan, draw: {**plan, draw(st.sampled_from(sorted(plan))): draw(kimg)},
    "batch_size": lambda plan, draw: {**plan, draw(st.sampled_from(sorted(plan))): draw(st.integers(1, 300))},
    "rampup_kimg": lambda _, draw: draw(st.floats(0, 2)),
    "stage_rampup_kimg": lambda _, draw: draw(st.floats(0, 2)),
    "decay_kimg": lambda _, draw: draw(st.floats(0, 2)),
    "total_kimg": lambda total, draw: (total or 20) + draw(kimg),
    "fade_reals": lambda fade, _: not fade,
    "old_layers": lambda _, draw: {"share": draw(st.floats(0.01, 1)), "lr_scale": draw(st.floats(0, 0.9))},
}


@given(plans(), st.sampled_from(sorted(CHANGES)), st.floats(0, 1.2), st.data())
@settings(max_examples=60, deadline=None)
def test_where_two_plans_part_is_what_their_steps_say(
    schedule: GrowthSchedule, key: str, share: float, data: st.DataObject
) -> None:
    options = schedule.options.model_dump()
    changed = {**options, key: CHANGES[key](options[key], data.draw)}
    base = schedule.phases[0].resolution >> schedule.phases[0].stage
    try:
        other = make(base, schedule.phases[-1].resolution, **changed)
    except UserError:  # total_kimg is too short for it
        return
    end = round(share * schedule.total)
    assert schedule.first_difference(schedule, end) is None or end > schedule.total
    assert schedule.first_difference(other, end) == other.first_difference(schedule, end)
    shown = min(end, schedule.total, other.total)
    assert schedule.first_difference(other, shown) == first_difference(schedule, other, shown)


def test_plans_are_compared_as_functions_of_the_pictures_shown() -> None:
    options: dict[str, Any] = {"stable_kimg": 1, "fade_kimg": 1, "batch_size": 100, "decay_kimg": 0.5}
    plan = make(**options)  # 5 kimg; 16 px is stable from 4 kimg on, and the rate falls from 4.5 kimg on
    longer = make(**{**options, "stable_kimg": {"default": 1, 16: 3}})
    assert plan.first_difference(longer, 4600) is None, "the step at 4,500 is the last one at the full rate"
    assert plan.first_difference(longer, 4601) == longer.first_difference(plan, 5000) == 4600
    written = make(**{**options, "stable_kimg": {4: 1, 8: 1, 16: 7, 32: 9}, "total_kimg": 5})
    assert plan.first_difference(written, 5000) is None
    held = make(**options, hold_resolution=8)  # 3 kimg, the rate falls from 2.5 kimg on
    assert plan.first_difference(held, 2600) is None
    assert plan.first_difference(held, 3000) == 2600
    assert plan.first_difference(make(**{**options, "decay_kimg": 0}, hold_resolution=8), 3000) is None
    assert plan.first_difference(make(**{**options, "decay_kimg": 0}, hold_resolution=8), 3100) == 3000, "it has ended"
    assert plan.first_difference(make(**options, fade_reals=False), 100) == 0
