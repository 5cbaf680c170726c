"""Whatever a recipe holds, it is valid or refused in one line: no other exception reaches the reader."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progcycle.recipe import RecipeError, load_recipe, merge, validate

PGGAN: dict[str, Any] = {"task": "pggan", "resolution": 32, "data": {"path": "pictures"}}
CYCLEGAN: dict[str, Any] = {"task": "cyclegan", "resolution": 32, "data": {"root": "pictures"}}

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["nan", "1e9"])
)
keys = st.sampled_from(["default", 8, "8", 12, "lr", "path", "name", "extends"]) | st.text(max_size=5) | st.integers()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
FULL = [validate(recipe).model_dump(mode="json") for recipe in (PGGAN, CYCLEGAN)]


@st.composite
def mutated(draw: st.DrawFn) -> dict[Any, Any]:
    """A whole recipe in which values are replaced, added or taken away, at any depth."""
    recipe: dict[Any, Any] = draw(st.sampled_from(FULL))
    recipe = merge(recipe, {})
    for _ in range(draw(st.integers(1, 3))):
        section = recipe
        while True:
            key = draw(st.sampled_from(sorted(section, key=str)))
            if not isinstance(section[key], dict) or not section[key] or draw(st.booleans()):
                break
            section[key] = dict(section[key])
            section = section[key]
        action = draw(st.sampled_from(["replace", "add", "remove"]))
        if action == "remove":
            del section[key]
        else:
            section[key if action == "replace" else draw(keys)] = draw(values)
        if not recipe:
            break
    return recipe


@given(mutated())
@settings(max_examples=300, deadline=None)
def test_mutated_recipes_are_valid_or_refused_in_one_line(content: dict[Any, Any]) -> None:
    try:
        recipe = validate(content)
    except RecipeError as error:
        message = str(error)
    else:
        message = "valid"
        assert validate(recipe.model_dump(mode="json")) == recipe
    assert len(message.splitlines()) == 1


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: "task: pggan\n" + raw.decode("latin1")))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_recipe_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert len(str(caught.value).splitlines()) == 1
