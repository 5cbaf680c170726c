"""Which features the discriminators of a recipe look at."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from progcycle.evaluation.seen_features import architectures, has_seen, mark_note, seen_figures
from progcycle.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


class Frozen(BaseModel):
    name: str = "projected"
    architecture: str


class Network(BaseModel):
    base_resolution: int = 4
    generator: str = "progressive"
    discriminator: Any = "progressive"


def recipe(discriminator: Any) -> Any:
    return SimpleNamespace(network=Network(discriminator=discriminator))


@pytest.mark.parametrize(
    ("discriminator", "names"),
    [
        ("progressive", []),
        (Frozen(architecture="efficientnet-lite1"), ["efficientnet-lite1"]),
        ({"a": "progressive", "b": Frozen(architecture="resnet50")}, ["resnet50"]),
        (
            [Frozen(architecture="efficientnet-lite1"), {"a": [Frozen(architecture="timm/tf_efficientnet_lite0")]}],
            ["efficientnet-lite1", "timm/tf_efficientnet_lite0"],
        ),
        ({"a": Frozen(architecture="resnet50"), "b": Frozen(architecture="resnet50")}, ["resnet50"]),
    ],
)
def test_networks_are_found_wherever_they_stand(discriminator: Any, names: list[str]) -> None:
    assert architectures(recipe(discriminator)) == names


@pytest.mark.parametrize(
    ("name", "seen"),
    [("cyclegan_openmoji_64_projected", True), ("pggan_emoji_projected", True), ("cyclegan_openmoji_64", False)],
)
def test_recipes_tell_what_their_discriminators_look_through(name: str, seen: bool) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert has_seen(recipe, "efficientnet-lite0") == seen
    assert not has_seen(recipe, "open-nsfw")
    assert ("kid" in seen_figures(recipe, "efficientnet-lite0", "open-nsfw")) == seen


def test_a_family_is_known_by_its_name() -> None:
    lite, resnet = (recipe(Frozen(architecture=name)) for name in ("efficientnet-lite2", "wide_resnet50_2"))
    assert has_seen(lite, "efficientnet-lite0")
    assert not has_seen(lite, "open-nsfw")
    assert has_seen(resnet, "open-nsfw")
    assert not has_seen(resnet, "inception")
    assert not has_seen(lite, None)
    assert "feature" in seen_figures(lite, "efficientnet-lite0", "open-nsfw")
    assert "kid_resnet" not in seen_figures(lite, "efficientnet-lite0", "open-nsfw")
    assert seen_figures(resnet, "efficientnet-lite0", "open-nsfw") == ["kid_resnet", "kid_resnet_error"]
    assert mark_note(["a", "b"]).startswith("^ in features of a and of b, ")
