"""The recipe section of what discriminators see: defaults, refusals, and the examples of its documentation."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from progcycle.recipe import DiscriminatorAugment, RecipeError, merge, validate

TEXT = (Path(__file__).parents[2] / "docs" / "training-options.md").read_text(encoding="utf-8")
SECTION = re.split(r"^## ", TEXT.split("## Augmenting what the discriminators see")[1], flags=re.MULTILINE)[0]
RECIPES: list[dict[str, Any]] = [
    {"task": "pggan", "resolution": 32, "data": {"path": "pictures"}},
    {"task": "cyclegan", "resolution": 32, "data": {"root": "pictures"}},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe["task"])
def test_examples_of_the_documentation_are_valid(recipe: dict[str, Any]) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert validate(merge(recipe, yaml.safe_load(block))).objective.augment is not None


def test_the_tables_of_the_documentation_are_whole() -> None:
    schema = DiscriminatorAugment.model_json_schema()
    named = set(re.findall(r"^\| `([\w.]+)` \|", SECTION, re.MULTILINE))
    operations = set(schema["properties"]["policy"]["items"]["enum"])
    adaptive = {f"adaptive.{key}" for key in schema["$defs"]["Adaptive"]["properties"]}
    assert named == operations | adaptive | {"policy", "probability"}


@pytest.mark.parametrize(
    ("options", "start"),
    [({}, 1.0), ({"probability": 0.3}, 0.3), ({"adaptive": {}}, 0.0), ({"adaptive": {}, "probability": 0.3}, 0.3)],
)
def test_where_the_probability_starts(options: dict[str, Any], start: float) -> None:
    assert DiscriminatorAugment.model_validate({"policy": ["color"], **options}).start == start


@pytest.mark.parametrize(
    ("augment", "sentence"),
    [
        ({}, "objective.augment.policy: this key is missing"),
        ({"policy": []}, "objective.augment.policy: list should have at least 1 item"),
        ({"policy": ["colour"]}, "objective.augment.policy.0: input should be 'color'"),
        ({"policy": ["color", "color"]}, "objective.augment: policy names an operation twice"),
        ({"policy": ["color"], "probability": 0}, "objective.augment: probability 0 augments nothing; leave augment"),
        ({"policy": ["color"], "probability": 1.5}, "objective.augment.probability: input should be less than"),
        (
            {"policy": ["color"], "probability": 0.9, "adaptive": {}},
            "objective.augment: probability lies above adaptive.maximum",
        ),
        ({"policy": ["color"], "adaptive": {"kimg": 0}}, "objective.augment.adaptive.kimg: input should be greater"),
        ({"policy": ["color"], "adaptive": {"every": 0}}, "objective.augment.adaptive.every: input should be greater"),
        ({"policy": ["color"], "adaptive": {"maximum": 1.1}}, "objective.augment.adaptive.maximum: input should be"),
    ],
)
def test_refusals(augment: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        validate(merge(RECIPES[1], {"objective": {"augment": augment}}))
    assert sentence in str(caught.value)
