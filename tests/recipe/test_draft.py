"""The recipe that is drafted for folders of pictures."""

from typing import Any

import pytest

from progcycle.engine.build import build
from progcycle.recipe import CycleganRecipe, Draft, PgganRecipe, load_recipe
from progcycle.schedule import GrowthSchedule


def draft(*folders: str, resolution: int = 64, count: int = 500, **more: Any) -> Draft:
    return Draft("mine", "progcycle train mine.yaml", folders, (count,) * len(folders), resolution, **more)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("count", [1, 2])
def test_every_size_is_a_recipe_that_can_be_built(count: int, resolution: int, gpu: bool) -> None:
    import torch

    asked = draft(*["a", "b"][:count], resolution=resolution, gpu=gpu)
    recipe = asked.recipe
    with torch.device("meta"):
        built = build(recipe)
    size = asked.sizes
    phases = built.schedule.phases
    assert phases[-1].resolution == resolution
    assert {p.end - p.start for p in phases if p.kind == "stable"} == {1000 * size.stable_kimg}
    assert {p.end - p.start for p in phases if p.kind == "fade"} <= {1000 * size.fade_kimg}
    assert phases[0].resolution == (4 if count == 1 else min(resolution, 64))
    assert recipe.schedule.decay_kimg * 1000 <= phases[-1].end - phases[-1].start
    channels = recipe.network.generator.channels
    assert (channels.base, channels.max) == ((3 - count) * size.base, size.widest)


def test_translators_at_64_px_do_as_the_recipe_for_photographs() -> None:
    mine = draft("a", "b", validation=0.1).recipe
    shipped = load_recipe("cyclegan_photos_64", ["data.a.path=a", "data.b.path=b"])
    assert isinstance(mine, CycleganRecipe)
    assert isinstance(shipped, CycleganRecipe)
    assert (mine.network, mine.objective, mine.optimizer) == (shipped.network, shipped.objective, shipped.optimizer)
    assert mine.data == shipped.data
    plans = [GrowthSchedule.of(recipe) for recipe in (mine, shipped)]
    assert plans[0].phases == plans[1].phases
    assert mine.training.ema == shipped.training.ema


@pytest.mark.parametrize("size", [128, 256])
def test_larger_recipes_for_photographs_follow_the_rule(size: int) -> None:
    mine = draft("a", "b", resolution=size, gpu=size == 256).recipe
    shipped = load_recipe(f"cyclegan_photos_{size}")
    assert (mine.network, mine.objective, mine.optimizer) == (shipped.network, shipped.objective, shipped.optimizer)
    assert GrowthSchedule.of(mine).phases == GrowthSchedule.of(shipped).phases
    assert mine.training.ema == shipped.training.ema


@pytest.mark.parametrize(
    "path", ["a b/c", "yes", "007", "#1", 'say "hi": x', "日本/é", "back\\slash", "~", "'", "{a}", "a\nb\x85\u2028\x7f"]
)
def test_any_path_comes_back_as_it_was_given(path: str) -> None:
    recipe = draft(path, "b", tests=(path, "t")).recipe
    assert isinstance(recipe, CycleganRecipe)
    assert recipe.data.a.path == (path,)
    assert recipe.data.a.test_path == (path,)
    one = draft(path, channels=1).recipe
    assert isinstance(one, PgganRecipe)
    assert (one.data.path, one.data.channels) == ((path,), 1)


def test_a_pggan_of_few_pictures_sees_them_augmented() -> None:
    few, many = (draft("a", count=count).recipe for count in (999, 1000))
    assert few.objective.augment is not None
    assert many.objective.augment is None
