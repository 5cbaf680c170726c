"""What the page on options of training writes as recipes is valid, and its defaults are those of the recipe."""

import re
from pathlib import Path

import pytest
import yaml

from progcycle.recipe import CycleganRecipe, merge, validate

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "training-options.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE + (DOCS / "translation.md").read_text(encoding="utf-8"), re.DOTALL)
MINIMAL = {"task": "cyclegan", "resolution": 64, "data": {"root": "pictures"}}


def test_there_are_examples() -> None:
    assert len(BLOCKS) > 6


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_are_parts_of_recipes(block: str) -> None:
    validate(merge(MINIMAL, yaml.safe_load(block)))


def test_defaults_of_the_cycle() -> None:
    recipe = validate(MINIMAL)
    assert isinstance(recipe, CycleganRecipe)
    cycle = recipe.objective.cycle
    section = PAGE[PAGE.index("## The cycle") :]
    table = dict(re.findall(r"^\| (`\w.*?`) \| `(.+?)` \|", section, re.MULTILINE))
    wanted = {"`scales`": cycle.scales, "`through`": cycle.through, "`noise_std`": cycle.noise_std}
    assert {key: table[key] for key in wanted} == {key: str(value) for key, value in wanted.items()}
    assert cycle.aba == cycle.bab == ((0.0, float(table["`aba`, `bab`"])),)
