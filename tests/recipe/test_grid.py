"""Resolutions of a recipe that belong together: rectangles, and bases other than powers of two."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from progcycle.recipe import RecipeError, difference, dump, merge, override, recipe_from, sizes_for, validate
from progcycle.recipe.networks import options_in
from progcycle.resolution import Resolution
from progcycle.schedule import GrowthSchedule

DATA: dict[str, dict[str, Any]] = {"cyclegan": {"root": "x"}}


def recipe(task: str = "pggan", **keys: Any) -> Any:
    return validate({"task": task, "data": DATA.get(task, {"path": "x"}), **keys})


@pytest.mark.parametrize("task", ["pggan", "cyclegan", "began", "autoencoder"])
def test_the_base_grid_has_the_shape_of_the_resolution_and_doubles(task: str) -> None:
    network: dict[str, Any] = {"base_resolution": 8}
    if task == "began":
        network |= {"generator": "progressive", "discriminator": "progressive"}
    made = recipe(task, resolution=[64, 96], network=network, schedule={"start_resolution": 16, "hold_resolution": 32})
    assert made.network.base_resolution.shape == (8, 12)
    schedule = GrowthSchedule.of(made)
    assert [p.resolution.shape for p in schedule.phases if p.kind == "stable"] == [(16, 24), (32, 48)]
    assert [p.stage for p in schedule.phases if p.kind == "stable"] == [1, 2]
    again = validate(yaml.safe_load(dump(made)))
    assert again == made
    assert again.network.base_resolution.shape == (8, 12)
    assert difference(made, again) == []


def test_the_shorter_side_stands_for_the_base_and_for_keys_of_tables() -> None:
    given = [{"base_resolution": base} for base in (4, [4, 6])]
    batches = {"batch_size": {4: 16, 8: 8, 16: 4}, "stable_kimg": 1, "fade_kimg": 0}
    both = [recipe(resolution=[32, 48], network=network, schedule=batches) for network in given]
    assert both[0] == both[1]
    phases = GrowthSchedule.of(both[0]).phases
    assert [(str(p.resolution), p.batch_size) for p in phases] == [("4x6", 16), ("8x12", 8), ("16x24", 4), ("32x48", 4)]
    assert GrowthSchedule.of(both[0]).table().splitlines()[2].split()[1:3] == ["1", "8x12"]
    wide = GrowthSchedule.of(recipe(resolution=[256, 384], network={"base_resolution": [128, 192]})).table()
    assert wide.splitlines()[1].split()[1:3] == ["0", "128x192"]  # a column of its own
    default = recipe(resolution=[48, 32])
    assert default.network.base_resolution.shape == (6, 4)


def test_a_rectangle_has_the_sizes_of_its_shorter_side() -> None:
    high, square = recipe("cyclegan", resolution=[96, 64]), recipe("cyclegan", resolution=64)
    assert sizes_for(Resolution(96, 64)) == sizes_for(64)
    for ours, theirs in zip(options_in(high.network).values(), options_in(square.network).values(), strict=True):
        assert ours == theirs
    assert dump(high).replace("- 96\n", "").count("\n") >= dump(square).count("\n")


@pytest.mark.parametrize("side", [96, 192, 320, 640])
def test_bases_other_than_powers_of_two(side: int) -> None:
    base = next(side >> i for i in range(9) if side >> i <= 8)
    schedule = GrowthSchedule.of(recipe(resolution=side, network={"base_resolution": base}))
    stages = [p.resolution for p in schedule.phases if p.kind == "stable"]
    assert stages == [base << i for i in range(len(stages))]
    assert stages[-1] == side
    assert all(p.resolution.is_square for p in schedule.phases)


def test_tables_reach_up_to_such_a_resolution() -> None:
    made = recipe(resolution=96, network={"base_resolution": 6}, schedule={"batch_size": {6: 8, 12: 4, 24: 2}})
    assert made.schedule.batch_size == {6: 8, 12: 4, 24: 2, 48: 2, 96: 2}


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"resolution": 96},
            "network.base_resolution: 4 px doubled again and again never become the resolution 96; set "
            "network.base_resolution=6, or choose the resolution 64 or 128.",
        ),
        (
            {"resolution": [192, 320], "network": {"base_resolution": 8}},
            "network.base_resolution: 8 px doubled again and again never become the resolution 192x320; set "
            "network.base_resolution=[6,10], or choose the resolution [128,208] or [256,416].",
        ),
        (
            {"resolution": [64, 250], "network": {"base_resolution": 8}},
            "network.base_resolution: 8 px doubled again and again never become the resolution 64x250; choose the "
            "resolution [64,248] or [128,496].",
        ),
        (
            {"resolution": 1000},
            "network.base_resolution: 4 px doubled again and again never become the resolution 1000; choose the "
            "resolution 512 or 1024.",
        ),
        (
            {"resolution": 64, "network": {"base_resolution": [8, 12]}},
            "network.base_resolution: 8x12 px doubled again and again never become the resolution 64; set "
            "network.base_resolution=8, or choose the resolution 64 or 128.",
        ),
    ],
)
def test_a_base_that_does_not_fit_is_told_what_does_and_the_advice_works(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        recipe(**keys)
    content = {"task": "pggan", "data": {"path": "x"}, **keys}
    if base := re.search(r"network\.base_resolution=\S+?(?=,? or|, or)", sentence):
        validate(override(content, [base[0]]))
    square = isinstance(keys.get("network", {}).get("base_resolution"), list)
    for size in [] if square else re.findall(r"[\[\d,\]]+", sentence.partition("choose the resolution")[2]):
        validate(merge(content, {"resolution": yaml.safe_load(size.rstrip(","))}))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"resolution": [64]}, "resolution: a list has height and width, two whole numbers, got [64]"),
        ({"resolution": [64, "96"]}, "resolution: a list has height and width, two whole numbers, got [64, '96']"),
        ({"resolution": [64, 96, 3]}, "resolution: a list has height and width"),
        ({"resolution": [64, True]}, "resolution: a list has height and width"),
        ({"resolution": [2, 64]}, "resolution: [height, width] has a shorter side of 4 to 1024 px"),
        ({"resolution": [64, 8192]}, "longer one of 4096 px at most, got [64, 8192]"),
        ({"resolution": "64x96"}, "resolution: input should be a valid integer"),
        (
            {"resolution": [64, 96], "schedule": {"start_resolution": 12}},
            "schedule.start_resolution: 12 is none of the resolutions that double from 4x6: 4x6, 8x12, 16x24, 32x48, "
            "64x96",
        ),
        (
            {"resolution": [64, 96], "schedule": {"hold_resolution": [16, 16]}},
            "schedule.hold_resolution: 16 is none of the resolutions",
        ),
        (
            {"resolution": 96, "network": {"base_resolution": 6}, "schedule": {"batch_size": {64: 3, 6: 1}}},
            "schedule.batch_size: the resolutions double from 6 px, so that there is no 64; did you mean 48 or 96?",
        ),
        (
            {"resolution": [64, 96], "training": {"max_batch_per_device": {96: 3}}},
            "training.max_batch_per_device: the resolutions double from 4 px, so that there is no 96; did you mean 64 "
            "or 128?",
        ),
    ],
)
def test_what_is_no_resolution_is_refused_in_one_sentence(keys: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(sentence)) as raised:
        recipe(**keys)
    assert str(raised.value).count(". ") == 0


def test_a_plan_of_pretraining_is_checked_too() -> None:
    with pytest.raises(RecipeError, match=r"pretraining\.schedule\.start_resolution: 12 is none of the resolutions"):
        recipe("cyclegan", resolution=[64, 96], pretraining={"schedule": {"start_resolution": 12}})
    made = recipe("cyclegan", resolution=[64, 96], pretraining={"schedule": {"start_resolution": 16}})
    assert made.pretraining.schedule.start_resolution.shape == (16, 24)


def test_levels_of_a_pyramid_are_squares_of_any_base() -> None:
    with pytest.raises(RecipeError, match=r"resolution: the levels of a pyramid are squares; give one number, such as"):
        recipe("lapgan", resolution=[64, 96])
    made = recipe("lapgan", resolution=96, network={"base_resolution": 12})
    assert made.levels == (12, 24, 48, 96)


def test_pictures_that_are_halved_for_a_discriminator_have_whole_halves() -> None:
    network = {"base_resolution": 12, "discriminator": {"name": "patchgan", "layers": 1, "reduce": 4}}
    recipe("cyclegan", resolution=[48, 96], network=network)
    network["discriminator"]["reduce"] = 8  # type: ignore[index]
    words = r"network\.discriminator\.reduce: pictures of 12x24 px, where training starts, cannot be halved down"
    with pytest.raises(RecipeError, match=words):
        recipe("cyclegan", resolution=[48, 96], network=network)


@pytest.mark.parametrize("size", [Resolution(64, 96), Resolution(64)])
def test_values_of_a_recipe_can_be_written_into_another(size: Resolution) -> None:
    made = recipe(resolution=size)
    assert made.resolution.shape == size.shape
    changed = recipe_from({"task": "pggan", "data": {"path": "x"}, "resolution": 64}, {"resolution": made.resolution})
    assert changed == made
