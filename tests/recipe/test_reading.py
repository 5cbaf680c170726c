"""From YAML to a recipe: extends, overrides, the round trip, and files that are no recipes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from progcycle.recipe import (
    CHANGEABLE,
    RecipeError,
    difference,
    dump,
    json_schema,
    load_recipe,
    merge,
    override,
    validate,
)

PGGAN = "task: pggan\nresolution: 32\ndata: {path: pictures}\n"
CYCLEGAN = "task: cyclegan\nresolution: 32\ndata: {root: pictures}\n"
RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def sentence(path: Path | str, *assignments: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, assignments)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- files that are no recipes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PGGAN + "seed: 1\nseed: 2\n", "line 5: this is not valid YAML (the key 'seed' stands twice)"),
        (PGGAN + "schedule: {batch_size: {8: 1, 8: 2}}\n", "the key 8 stands twice"),
        ("a: [1, 2", "line 1: this is not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "this is not valid YAML (could not determine a constructor"),
        ("a: !!int ''", "this is not valid YAML"),
        ("a: !!timestamp soon", "this is not valid YAML"),
        ("a: 2001-99-99", "this is not valid YAML (month must be in 1..12)"),
        ("? [a]\n: b", "this is not valid YAML (found unhashable key)"),
        ("", "a recipe is a YAML mapping of keys to values, this is empty"),
        ("- task: pggan", "this is a list"),
        ("just words", "this is text"),
        ("2001-01-01", "2001-01-01 is a date in YAML, which no key takes; put it in quotes"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "this recipe cannot be read as UTF-8 text"),
        (PGGAN + "extends: 5\n", "extends takes the file name of another recipe, got 5"),
        (PGGAN + 'extends: "\\0"\n', "cannot be read"),
        (PGGAN + "extends: other.yaml\n", "other.yaml; give the path of a YAML file"),
    ],
)
def test_files_that_are_no_recipes(write: Callable[..., Path], text: str | bytes, problem: str) -> None:
    assert problem in sentence(write(text))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert f"There is no recipe {tmp_path / 'nothing.yaml'}" in sentence(tmp_path / "nothing.yaml")
    assert f"{tmp_path} is a folder; give the path of a YAML file" in sentence(tmp_path)


def test_a_loop_of_links_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "a.yaml")
    assert "cannot be read" in sentence(tmp_path / "a.yaml")


# --- YAML as people write it --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("2.E-4", 2e-4), ("1e3", 1e3), ("0.5", 0.5), ("3", 3.0), ("+1e-3", 1e-3)]
)
def test_numbers(write: Callable[..., Path], text: str, value: float) -> None:
    recipe = load_recipe(write(PGGAN + f"optimizer: {{generator: {{lr: {text}}}}}\n"))
    assert recipe.optimizer.generator.lr == value


def test_anchors_and_merge_keys(write: Callable[..., Path]) -> None:
    text = "optimizer:\n  generator: &adam {lr: 0.5, eps: 0.25}\n  discriminator: {<<: *adam, lr: 0.125}\n"
    optimizer = load_recipe(write(PGGAN + text)).optimizer
    assert (optimizer.discriminator.lr, optimizer.discriminator.eps) == (0.125, 0.25)


# --- extends ------------------------------------------------------------------------------------------------------


def test_extends_lays_sections_over_the_parent(write: Callable[..., Path]) -> None:
    write(PGGAN + "seed: 3\noptimizer: {generator: {lr: 0.5, eps: 0.25}}\n", "parent.yaml")
    child = load_recipe(write("extends: ../parent.yaml\noptimizer: {generator: {lr: 0.125}}\n", "sub/child.yaml"))
    assert (child.seed, child.optimizer.generator.lr, child.optimizer.generator.eps) == (3, 0.125, 0.25)


def test_extends_replaces_mappings_by_resolution_whole(write: Callable[..., Path]) -> None:
    write(PGGAN + "schedule: {batch_size: {default: 16, 8: 4, 32: 2}, stable_kimg: 7}\n", "parent.yaml")
    child = load_recipe(write("extends: parent.yaml\nschedule: {batch_size: {default: 5}}\n"))
    assert child.schedule.batch_size == {"default": 5}
    assert child.schedule.stable_kimg == {"default": 7}
    child = load_recipe(write("extends: parent.yaml\nschedule: {batch_size: 5, stable_kimg: {4: 1}}\n"))
    assert child.schedule.batch_size == {"default": 5}
    assert child.schedule.stable_kimg == {4: 1, 8: 1, 16: 1, 32: 1}, "the highest entry is that of all above"


def test_extends_of_a_dumped_recipe_replaces_them_too(write: Callable[..., Path]) -> None:
    parent = load_recipe(write(PGGAN + "schedule: {batch_size: {4: 4, 8: 2, 16: 2, 32: 1}}\n"))
    write(dump(parent), "parent.yaml")
    child = load_recipe(write("extends: parent.yaml\nschedule: {batch_size: {default: 5, 8: 3}}\n"))
    assert child.schedule.batch_size == {"default": 5, 8: 3}


def test_extends_in_a_circle(write: Callable[..., Path]) -> None:
    write("extends: b.yaml\n", "a.yaml")
    write("extends: a.yaml\n", "b.yaml")
    assert "extends leads back to itself" in sentence(write("extends: a.yaml\n", "c.yaml"))
    assert "extends leads back to itself" in sentence(write("extends: self.yaml\n", "self.yaml"))


def test_merge_and_override_leave_their_arguments_alone() -> None:
    base: dict[str, Any] = {"a": {"b": {"c": 1}}, "d": {"default": 1}}
    merge(base, {"a": {"b": {"c": 2}}})
    override(base, ["a.b.c=3", "d.8=5"])
    assert base == {"a": {"b": {"c": 1}}, "d": {"default": 1}}


# --- overrides ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("optimizer.generator.lr=1e-3", ("optimizer", "generator", "lr"), 1e-3),
        ("optimizer.generator.betas=[0, 0.5]", ("optimizer", "generator", "betas"), (0, 0.5)),
        ("schedule.batch_size.256=14", ("schedule", "batch_size"), {256: 14}),
        ("schedule.total_kimg=", ("schedule", "total_kimg"), None),
        ("data.path=[a, b=c]", ("data", "path"), ("a", "b=c")),
        ("objective.r1={gamma: 2}", ("objective", "r1", "gamma"), 2),
        (" data.background =red", ("data", "background"), "red"),
    ],
)
def test_overrides(write: Callable[..., Path], assignment: str, path: tuple[str, ...], value: Any) -> None:
    found: Any = load_recipe(write(PGGAN), [assignment])
    for name in path:
        found = getattr(found, name)
    assert found == value


def test_override_of_one_resolution_keeps_the_others(write: Callable[..., Path]) -> None:
    for text in ("batch_size: 16", "batch_size: {default: 16, 256: 9}"):
        path = write(PGGAN + f"schedule: {{{text}}}\n")
        assert load_recipe(path, ["schedule.batch_size.256=14"]).schedule.batch_size == {"default": 16, 256: 14}
    write(dump(load_recipe(path)))
    assert load_recipe(path, ["schedule.batch_size.256=14"]).schedule.batch_size == {"default": 16, 256: 14}


@pytest.mark.parametrize(
    ("written", "assignment", "group", "averaging"),
    [
        ("16", "averaging=spatial", 16, "spatial"),
        ("batch", "averaging=gpool", "batch", "gpool"),
        ("{group: 8, averaging: flat}", "group=0", 0, "all"),
        ("{group: 8, averaging: flat}", "group=2", 2, "flat"),
        ("{averaging: flat}", "group=batch", "batch", "flat"),
    ],
)
def test_a_change_to_a_part_of_the_stddev_layer_keeps_the_other(
    write: Callable[..., Path], written: str, assignment: str, group: Any, averaging: str
) -> None:
    path = write(PGGAN + f"network: {{discriminator: {{minibatch_stddev: {written}}}}}\n", "parent.yaml")
    key, value = assignment.split("=")
    child = write(f"extends: parent.yaml\nnetwork: {{discriminator: {{minibatch_stddev: {{{key}: {value}}}}}}}\n")
    for recipe in (load_recipe(path, [f"network.discriminator.minibatch_stddev.{assignment}"]), load_recipe(child)):
        assert (
            recipe.network.discriminator.minibatch_stddev.group,
            recipe.network.discriminator.minibatch_stddev.averaging,
        ) == (group, averaging)


def test_a_lone_value_is_the_whole_stddev_layer(write: Callable[..., Path]) -> None:
    path = write(PGGAN + "network: {discriminator: {minibatch_stddev: {group: 8, averaging: flat}}}\n")
    stddev = load_recipe(path, ["network.discriminator.minibatch_stddev=off"]).network.discriminator.minibatch_stddev
    assert (stddev.group, stddev.averaging) == (0, "all")


def test_a_section_is_switched_off_by_an_empty_value(write: Callable[..., Path]) -> None:
    write(
        PGGAN + "network: {discriminator: {minibatch_stddev: off, minibatch_discrimination: {kernels: 7}}}\n",
        "parent.yaml",
    )
    child = write("extends: parent.yaml\nnetwork: {discriminator: {minibatch_discrimination: , minibatch_stddev: 4}}\n")
    network = load_recipe(child).network
    assert (network.discriminator.minibatch_discrimination, network.discriminator.minibatch_stddev.group) == (None, 4)


@pytest.mark.parametrize("assignment", ["seed", "=3", "a..b=3", ""])
def test_malformed_overrides(write: Callable[..., Path], assignment: str) -> None:
    assert "is not an override; write key=value" in sentence(write(PGGAN), assignment)


def test_override_that_is_not_yaml(write: Callable[..., Path]) -> None:
    assert "override seed, line 1: this is not valid YAML" in sentence(write(PGGAN), "seed=[1")


def test_override_through_a_value_is_a_wrong_type(write: Callable[..., Path]) -> None:
    assert "seed: input should be a valid integer" in sentence(write(PGGAN), "seed.deeper=1")


# --- and back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        PGGAN + "schedule: {batch_size: {default: 16, 256: 14}}\n",
        PGGAN.replace("pictures", "['1e3', 'yes', '12', 'null', 'ä b'], augment: [{name: Blur, p: 1}]"),
        CYCLEGAN + "objective: {cycle: {aba: [[0, 10], [50, 2.5]]}, r1: {gamma: 1.0e-20}}\n",
    ],
)
def test_dump_gives_an_equal_recipe(write: Callable[..., Path], text: str) -> None:
    recipe = load_recipe(write(text))
    again = load_recipe(write(dump(recipe), "again.yaml"))
    assert again == recipe
    assert dump(again) == dump(recipe)
    assert difference(recipe, again) == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_the_repository_are_valid_and_survive_a_dump(write: Callable[..., Path], path: Path) -> None:
    recipe = load_recipe(path)
    assert load_recipe(write(dump(recipe))) == recipe


def test_json_values_give_an_equal_recipe(write: Callable[..., Path]) -> None:
    recipe = load_recipe(write(PGGAN + "schedule: {batch_size: {default: 16, 256: 14}}\n"))
    assert validate(recipe.model_dump(mode="json")) == recipe


def test_difference_names_every_key_that_differs(write: Callable[..., Path]) -> None:
    old = load_recipe(write(PGGAN + "schedule: {batch_size: {default: 16, 8: 4}}\n"))
    new = load_recipe(
        write(PGGAN + "seed: 4\nschedule: {batch_size: {default: 16, 16: 2}}\nobjective: {loss: hinge}\n")
    )
    assert difference(old, new) == [
        "seed: 0 -> 4",
        "objective.loss: wgan -> hinge",
        "objective.gradient_penalty.weight: 10.0 -> left out",
        "objective.gradient_penalty.target: 1.0 -> left out",
        "objective.drift: 0.001 -> 0.0",
        "schedule.batch_size.8: 4 -> left out",
        "schedule.batch_size.16: left out -> 2",
    ]
    assert difference(old, new, free=("schedule", "objective.gradient_penalty")) == [
        "seed: 0 -> 4",
        "objective.loss: wgan -> hinge",
        "objective.drift: 0.001 -> 0.0",
    ]


def test_operation_names_keys_that_recipes_have(write: Callable[..., Path]) -> None:
    contents = [load_recipe(write(text)).model_dump() for text in (PGGAN, CYCLEGAN)]

    def has(content: Any, key: str) -> bool:
        first, _, rest = key.partition(".")
        return first in content and (not rest or has(content[first], rest))

    for key in CHANGEABLE:
        assert any(has(content, key) for content in contents), key


def test_json_schema_knows_every_key_and_accepts_what_recipes_write() -> None:
    schema = json_schema()
    definitions = schema["$defs"]
    assert schema["discriminator"]["propertyName"] == "task"
    for name in ("PgganRecipe", "CycleganRecipe"):
        assert definitions[name]["additionalProperties"] is False
        assert definitions[name]["required"] == ["task"], "the rest may come from extends"
        assert "extends" in definitions[name]["properties"]
    kinds = {part.get("type") for part in definitions["Schedule"]["properties"]["batch_size"]["anyOf"]}
    assert kinds == {"integer", "object"}
    kinds = {part.get("type") for part in definitions["Cycle"]["properties"]["aba"]["anyOf"]}
    assert kinds == {"number", "array"}
    forms = definitions["PgganDiscriminatorOptions"]["properties"]["minibatch_stddev"]["anyOf"]
    assert {"const": "batch", "type": "string"} in forms
    assert {"const": False, "type": "boolean"} in forms
    assert {"$ref": "#/$defs/MinibatchStddev"} in forms
    network = definitions["CycleganNetwork"]["properties"]
    assert {"enum": ["progressive", "resnet", "unet"]} in network["generator"]["anyOf"]
    sections = [form["allOf"][0]["$ref"] for form in network["generator"]["anyOf"][1:]]
    assert [ref.rpartition("/")[2] for ref in sections] == [
        "ProgressiveTranslatorOptions",
        "ResnetOptions",
        "UnetOptions",
    ]
    assert network["channels"] == definitions["ProgressiveTranslatorOptions"]["properties"]["channels"]
    assert {"rgb", "filters", "slope"} <= network.keys(), "options that a pair of networks shares"
    assert not {"name", "skips", "head", "convs"} & network.keys()


def test_schema_file_for_editors_is_up_to_date() -> None:
    path = Path(__file__).parents[2] / "recipes" / "schema.json"
    assert json.loads(path.read_text()) == json_schema(), "write json_schema() to recipes/schema.json, indented by 1"
