"""The rule of sizes by resolution, by hand: what a translator's recipe gets where it names no lengths or widths."""

from pathlib import Path
from typing import Any

import pytest

from progcycle.engine.build import build
from progcycle.networks import stage_channels
from progcycle.recipe import RecipeError, Schedule, dump, load_recipe, override, sizes_for, validate
from progcycle.schedule import GrowthSchedule

ROOT = {"root": "pictures"}


def minimal(resolution: int, **more: Any) -> dict[str, Any]:
    return {"task": "cyclegan", "resolution": resolution, "data": ROOT, **more}


def phases(content: dict[str, Any]) -> list[tuple[str, int, float, int]]:
    recipe = validate(content)
    plan = GrowthSchedule(recipe.schedule, recipe.network.base_resolution, recipe.resolution)
    return [(p.kind, p.resolution, (p.end - p.start) / 1000, p.batch_size) for p in plan.phases]


def test_a_minimal_translator_has_fades_and_widths_in_proportion() -> None:
    content = minimal(64, schedule={"stable_kimg": 10})
    grown = [(kind, res, {"fade": 5.0, "stable": 10.0}[kind], 4) for res in (16, 32, 64) for kind in ("fade", "stable")]
    assert phases(content) == [("stable", 8, 10.0, 4), *grown]  # 55 kimg, and not 1,840
    translator = build(validate(content)).task.networks["gen_ab"]
    assert sum(parameter.numel() for parameter in translator.parameters()) < 1_500_000  # and not 46.6 million
    assert phases(minimal(64)) == phases(content)


@pytest.mark.parametrize(
    ("resolution", "maps"),
    [(32, [64, 32, 16]), (64, [96, 64, 32, 16]), (128, [128, 128, 64, 32, 16]), (256, [256, 256, 128, 64, 32, 16])],
)
def test_sixteen_maps_at_the_end_and_twice_as_many_at_every_halving(resolution: int, maps: list[int]) -> None:
    channels = validate(minimal(resolution)).network.generator.channels
    assert stage_channels(8, resolution, channels.base, channels.decay, channels.max) == maps


def test_fades_follow_each_resolutions_own_length() -> None:
    content = minimal(32, schedule={"stable_kimg": {8: 2, 16: 4, 32: 20}})
    assert [length for _, _, length, _ in phases(content)] == [2, 2, 4, 10, 20]
    assert validate(content).schedule.fade_kimg == {8: 1, 16: 2, 32: 10}


def test_what_is_written_stays() -> None:
    schedule = {"stable_kimg": {"default": 3}, "fade_kimg": 7, "batch_size": 2}
    recipe = validate(minimal(64, schedule=schedule, network={"channels": {"max": 48}}))
    assert (recipe.network.generator.channels.base, recipe.network.generator.channels.max) == (512, 48)
    assert (recipe.schedule.fade_kimg, recipe.schedule.batch_size) == ({"default": 7}, {"default": 2})


def test_pretraining_with_a_plan_of_its_own_follows_the_rule_too() -> None:
    recipe = validate(minimal(32, pretraining={"schedule": {"stable_kimg": 2}}))
    assert recipe.task == "cyclegan"
    assert recipe.pretraining is not None
    assert recipe.pretraining.schedule is not None
    assert recipe.pretraining.schedule.fade_kimg == {"default": 1}


def test_pggan_keeps_the_papers_defaults() -> None:
    recipe = validate(
        {"task": "pggan", "resolution": 64, "data": {"path": "pictures"}, "schedule": {"stable_kimg": 10}}
    )
    assert (recipe.network.generator.channels.base, recipe.network.generator.channels.max) == (8192, 512)
    assert (recipe.schedule.fade_kimg, recipe.schedule.batch_size) == ({"default": 600}, {"default": 16})
    assert Schedule().stable_kimg == {"default": 600}


def test_networks_that_do_not_grow_keep_theirs() -> None:
    network = {"generator": "resnet", "discriminator": {"name": "patchgan", "layers": 2}}
    recipe = validate(minimal(64, network=network))
    assert "channels" not in recipe.network.generator.model_dump()
    build(recipe)


@pytest.mark.parametrize("name", ["cyclegan_openmoji", "pggan_emoji"])
def test_a_resolution_above_the_tables_has_their_highest_entry(name: str) -> None:
    before, after = load_recipe(name), load_recipe(name, ["resolution=128"])
    build(after)
    for key in ("stable_kimg", "fade_kimg"):
        old, new = getattr(before.schedule, key), getattr(after.schedule, key)
        assert new == {**old, 64: old[32], 128: old[32]}
    assert after.schedule.batch_size == before.schedule.batch_size
    assert load_recipe(name, ["resolution=128", "schedule.hold_resolution=64"]).schedule.stable_kimg.keys() == {
        *before.schedule.stable_kimg,
        64,
    }


def test_a_table_that_reaches_or_has_a_default_is_left_as_it_is(tmp_path: Path) -> None:
    for table in ({"default": 3, 8: 1}, {8: 1, 16: 2, 32: 3}, {8: 1, 16: 2, 32: 3, 64: 4}):
        recipe = validate(minimal(32, schedule={"stable_kimg": table}))
        assert recipe.schedule.stable_kimg == table
        (tmp_path / "r.yaml").write_text(dump(recipe))
        assert load_recipe(tmp_path / "r.yaml") == recipe


def test_a_gap_below_is_no_matter_of_the_rule_and_its_advice_works() -> None:
    content = minimal(32, schedule={"stable_kimg": {8: 1, 32: 3}, "fade_kimg": 1})
    with pytest.raises(Exception, match=r"no value for 16 px and no default; give schedule\.stable_kimg\.16 one\.$"):
        phases(content)
    assert phases(override(content, ["schedule.stable_kimg.16=2"]))[2][:3] == ("stable", 16, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": "64"},
        {"resolution": 64, "schedule": {"stable_kimg": {8: "x"}}},
        {"resolution": 64, "schedule": {"stable_kimg": "long"}},
        {"resolution": 64, "schedule": [1]},
        {"resolution": 64, "schedule": {"batch_size": {"many": 1}}},
        {"resolution": 64, "network": 5},
        {"resolution": 64, "network": {"channels": 5}},
        {"resolution": True},
        {"resolution": 64, "pretraining": {"schedule": 3}},
    ],
)
def test_wrong_values_are_told_by_their_key(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"resolution|schedule|network|pretraining"):
        validate({"task": "cyclegan", "data": ROOT, **wrong})


def test_a_gpu_gets_twice_the_width_and_batch_and_four_times_the_length() -> None:
    cpu, gpu = sizes_for(128), sizes_for(128, gpu=True)
    assert (cpu.base, cpu.widest, cpu.stable_kimg, cpu.fade_kimg, cpu.batch_size) == (1024, 128, 10, 5, 4)
    assert (gpu.base, gpu.widest, gpu.stable_kimg, gpu.fade_kimg, gpu.batch_size) == (2048, 256, 40, 20, 8)
