"""The site's reference holds every key of recipes, and the pages name keys that there are."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from progcycle import networks
from progcycle.recipe import RECIPES, json_schema
from progcycle.recipe.networks import players_of
from progcycle.section import Section

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference() -> Any:
    """The module that writes the reference."""
    sys.path.insert(0, str(ROOT / "docs" / "site"))
    try:
        import recipe_reference

        yield recipe_reference
    finally:
        sys.path.remove(str(ROOT / "docs" / "site"))
        sys.modules.pop("recipe_reference", None)


@pytest.fixture(scope="module")
def keys(reference: Any) -> dict[str, dict[str, Any]]:
    """Rows by page and path; of networks by table and path."""
    found: dict[str, dict[str, Any]] = {}
    for page in reference.pages(json_schema()):
        for table in page.tables:
            name = table.title if page.name == reference.NETWORKS else page.name
            found.setdefault(name, {}).update({row.path: row for row in table.rows})
    return found


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a section, and of those in it, by the classes themselves."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        inner = list(models_in(field.annotation))
        if len(inner) == 1:
            listed = "tuple" in str(field.annotation) and inner[0].__name__ == "Augmentation"
            yield from paths(inner[0], f"{prefix}{name}{'[]' if listed else ''}.")


@pytest.mark.parametrize("task", RECIPES)
def test_every_key_of_a_task_is_there(task: str, keys: dict[str, dict[str, Any]]) -> None:
    expected = set(paths(RECIPES[task]))
    assert len(expected) > 50
    assert expected - keys[task].keys() == set()


def test_every_option_of_a_network_is_there(keys: dict[str, dict[str, Any]]) -> None:
    seen = 0
    for task, recipe in RECIPES.items():
        for player, marker in players_of(recipe.network_section()).items():
            for name, network in marker.networks.items():
                tables = [rows for title, rows in keys.items() if title.startswith(f"`{name}` as ")]
                options = {path.partition(".")[0] for path in network.Options.model_fields}
                assert any(options <= rows.keys() for rows in tables), f"{task}: {player}: {name}"
                seen += 1
    assert seen > 30
    assert networks.GENERATORS.keys() <= {title.split("`")[1] for title in keys if title.startswith("`")}


def test_every_key_has_a_meaning_and_values(keys: dict[str, dict[str, Any]]) -> None:
    bare = [
        f"{page}: {path}"
        for page, rows in keys.items()
        for path, row in rows.items()
        if not row.kind or not (row.meaning or path == "task")
    ]
    assert bare == []


def test_rows_by_hand(keys: dict[str, dict[str, Any]]) -> None:
    row = keys["pggan"]["objective.gradient_penalty.target"]
    assert (row.kind, row.default) == ("number, above 0", "1")
    assert keys["cyclegan"]["data.a.augment[].name"].default == "required"
    assert keys["cyclegan"]["objective.pool_size"].kind.startswith("whole number, at least 0")
    assert keys["pggan"]["training.precision"].kind == "`no`, `bf16`, `fp16`, `auto`, `false`"
    assert keys["began"]["task"].default == "began"
    assert "`resnet`" in keys["cyclegan"]["network.generator"].kind


def test_pages_are_tables(reference: Any) -> None:
    """Every row of the Markdown has four cells, whatever its words hold."""
    found = reference.pages(json_schema())
    titles = [table.title for table in found[-1].tables]
    assert len(set(titles)) == len(titles)
    for page in found:
        lines = [line for line in reference.render(page).splitlines() if line.startswith("| `")]
        assert len(lines) == sum(len(table.rows) for table in page.tables)
        for line in lines:
            assert len(re.split(r"(?<!\\)\|", line)) == 6, line


def test_the_schema_in_the_repository_is_that_of_the_reference() -> None:
    assert json.loads((ROOT / "recipes" / "schema.json").read_text("utf-8")) == json.loads(json.dumps(json_schema()))


def test_other_projects_options_lead_to_keys_that_there_are(keys: dict[str, dict[str, Any]]) -> None:
    known = {path for page in RECIPES for path in keys[page]}
    options = {path for title, rows in keys.items() if title.startswith("`") for path in rows}
    text = (ROOT / "docs" / "coming-from.md").read_text("utf-8")
    sections = "|".join(name for name in RECIPES["cyclegan"].model_fields if name not in ("task", "seed"))
    named = set(re.findall(rf"`(?:progcycle train \S+ )?((?:{sections})(?:\.\w+)+)[`=]", text))
    assert len(named) > 25
    for path in sorted(named):
        section, player, *rest = [*path.split("."), "", ""]
        inner = ".".join(part for part in rest if part)
        of_network = section == "network" and player in ("generator", "discriminator") and inner in options
        assert path in known or of_network, path
    assert issubclass(RECIPES["cyclegan"], Section)
