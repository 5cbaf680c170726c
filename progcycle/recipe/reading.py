"""From YAML to a validated recipe and back; every error is one sentence."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from progcycle.errors import closest
from progcycle.recipe.exclusions import drop_excluded, is_player, long_form, named_keys
from progcycle.recipe.forms import aligned
from progcycle.recipe.networks import (
    SECTION,
    NetworkSection,
    at_place,
    has_path,
    is_for_all,
    keys_for_all,
    players_of,
    shared_keys,
)
from progcycle.recipe.overrides import inner_model, override, override_with, text_kinds
from progcycle.recipe.schema import RECIPES, Recipe
from progcycle.recipe.shipped import find_recipe
from progcycle.recipe.text import parse, read_text, to_text
from progcycle.recipe.upgrade import MOVED_TO, upgrade
from progcycle.recipe.values import RecipeError, is_resolution_key

SHOWN = 20  # wrong keys in an error
# Keys that may change when a run is resumed. They are about watching, saving, measuring and rescuing a run, and about
# how pictures are kept ready, not about what is trained:
# * loader processes and caches give the same pixels, or an error; limits to what is read are for ending with an error,
#   whose advice is to raise them; test pictures are only measured;
# * a batch in parts has the gradients of the whole one. Rounding differs, and so do the groups of minibatch standard
#   deviation, but what does not fit into memory cannot go on otherwise;
# * evaluations draw from random streams of their own.
# What else may change is judged by what it does, see ``engine.folder``: the growth plan behind the pictures shown,
# paths of pictures that are the same, and a precision that ``auto`` stood for. All other keys are the experiment (seed,
# task, networks, objective, optimizer, averages, what is done to pictures), or what it began with (pretraining,
# warm_start).
CHANGEABLE = (
    *(f"data.{name}" for name in ("workers", "cache_dir", "cache_resolution", "max_broken", "max_pixels", "paired")),
    "data.stage_to",
    *(f"data.{name}test_path" for name in ("", "a.", "b.")),
    *(f"training.{name}_kimg" for name in ("status", "sample", "snapshot", "checkpoint", "permanent")),
    *(f"training.{name}" for name in ("keep_checkpoints", "fallback_dir", "sample_count", "trackers", "recovery")),
    *(
        f"training.{name}"
        for name in ("max_batch_per_device", "evaluation", "checkpoint_activations", "compile", "cuda_graphs")
    ),
)


def _by_resolution(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(is_resolution_key, value))


def merge(base: Mapping[Any, Any], change: Mapping[Any, Any]) -> dict[Any, Any]:
    """``base`` updated by ``change``, section by section.

    Mappings by resolution (``{default: 16, 256: 14}``) are values, not sections: they are replaced whole. Keys of
    ``base`` that a key of ``change`` excludes are left out, see ``exclusions``.
    """
    base, change = aligned(base, change)
    return drop_excluded(base, _merged(base, change), dict(named_keys(change)))


def _merged(base: Mapping[Any, Any], change: Mapping[Any, Any], prefix: str = "") -> dict[Any, Any]:
    merged = dict(base)
    for key, new in change.items():
        name = f"{prefix}{key}"
        value = long_form(name, new) if is_player(name) else new  # a name alone keeps the options of that network
        old = long_form(name, merged.get(key)) if isinstance(value, Mapping) else merged.get(key)
        deep = isinstance(old, Mapping) and isinstance(value, Mapping)
        whole = not deep or (not name.startswith(f"{SECTION}.") and (_by_resolution(old) or _by_resolution(value)))
        merged[key] = value if whole else _merged(old, value, f"{name}.")  # type: ignore[arg-type]
    return merged


def read_content(path: Path, seen: tuple[Path, ...] = ()) -> dict[Any, Any]:
    """The mapping in a YAML file, merged into the one that its key ``extends`` names.

    Raises:
        RecipeError: a file cannot be read, is no YAML mapping, or extends itself.
    """
    text = read_text(path)
    here = path.resolve()
    if here in seen:
        raise RecipeError(f"{path}: extends leads back to itself.")
    content = parse(text, str(path))
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a YAML mapping of keys to values, this is {_kind(content)}.")
    parent = content.pop("extends", None)
    if parent is None:
        return upgrade(content)
    if not isinstance(parent, str):
        raise RecipeError(f"{path}: extends takes the file name of another recipe, got {parent!r}.")
    return merge(read_content(find_recipe(parent, folder=path.parent), (*seen, here)), content)


def _kind(value: Any) -> str:
    names = {
        type(None): "empty",
        str: "text",
        list: "a list",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _unknown(error: Any, model: type[BaseModel], content: Mapping[Any, Any]) -> str:
    """The sentence for an unknown key, with the nearest known one."""
    section, inside, path = model, content, error["loc"][:-1]
    while path and (found := inner_model(section, path, inside)):
        section, inside, used = found
        path = path[used:]
    known: set[str] = set(section.model_fields)
    key = str(error["loc"][-1])
    players = players_of(section)
    if issubclass(section, NetworkSection) and players:
        having = shared_keys(section, {p: inside.get(p) for p in players} | {key: None}).get(key, [])
        if is_for_all(section, having):
            return "every network has its own value for it; leave it out"
        if key in MOVED_TO:
            return f"write {MOVED_TO[key]}"
        if having:
            return f"not every network here has this option; write {'.'.join(map(str, (SECTION, *having[0], key)))}"
        known |= {name for m in players.values() if (kind := m.options_of(None)) for name in kind.model_fields}
        known -= {"name"}
    near = closest(key, known)
    hint = f"did you mean {near}?" if near else f"known keys here are {', '.join(sorted(known))}"
    return f"unknown key, {hint}"


def _written_at(loc: Sequence[Any], content: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Where the value that an error is about was written: an option of a network may be set for all networks."""
    section, *rest = loc or [""]
    network = content.get(section)
    if section != SECTION or not isinstance(network, Mapping):
        return tuple(loc)
    last = max((i for i in range(len(rest)) if is_player(".".join(map(str, (section, *rest[:i]))))), default=0)
    place, path = tuple(rest[:last]), tuple(rest[last:])
    if not place:
        return tuple(loc)
    own = long_form(".".join(map(str, (section, *place))), at_place(network, place))
    beside = path[0] in network and not has_path(own if isinstance(own, Mapping) else {}, path)
    return (section, *path) if beside else tuple(loc)


def _not_text(error: Any, model: type[BaseModel], content: Mapping[Any, Any]) -> str:
    """What is wrong with a value where text is expected; "" for keys that take no text."""
    kinds, got = text_kinds(model, error["loc"], content), error["input"]
    if error["loc"][-1] != "[key]" and not kinds & {"text", "texts"}:
        return ""
    if got is None:
        return "this is empty; text with a # in it, where YAML sees a comment, belongs in quotes"
    if isinstance(got, bool):
        return f"YAML reads this as {str(got).lower()}; text such as no or yes belongs in quotes"
    if isinstance(got, int | float):
        return f"YAML reads this as the number {got}; put text in quotes"
    return "this takes text, and YAML reads a section; put text in quotes" if isinstance(got, Mapping) else ""


def describe_error(error: Any, model: type[BaseModel], content: Mapping[Any, Any] | None = None) -> str:
    """One of pydantic's errors as a short sentence that begins with the dotted key, if it is one key's.

    Args:
        error: as pydantic reports it.
        model: what was validated.
        content: the mapping that was validated, which names the networks.
    """
    content = content or {}
    loc = _written_at(error["loc"], content)
    where = ".".join(str(part) for part in loc if part != "[key]") or "recipe"
    if error["type"] == "extra_forbidden":
        return f"{where}: {_unknown(error, model, content)}"
    if error["type"] == "missing":
        return f"{where}: this key is missing"
    if error["type"] == "model_type":
        return f"{where}: this is a section of keys and values, got {_kind(error['input'])}"
    if error["type"] in ("string_type", "tuple_type") and (text := _not_text(error, model, content)):
        return f"{where}: {text}"
    message = error["msg"].removeprefix("Value error, ")
    message = (message[0].lower() + message[1:]).replace("tuple", "list")  # as YAML calls it
    got = error["input"]
    shown = "" if error["type"] == "value_error" or isinstance(got, dict) else f" (got {str(got)[:60]!r})"
    return f"{where}: {message}{shown}" if loc else message  # of the whole recipe: it names its keys itself


def validate(content: Mapping[Any, Any], where: str = "recipe") -> Recipe:
    """Check a mapping and return the frozen recipe.

    Raises:
        RecipeError: one sentence naming every wrong key, the first 20 if there are more.
    """
    content = upgrade(content)
    task = content.get("task")
    if not isinstance(task, str) or task not in RECIPES:
        raise RecipeError(f"{where}: task: must be one of {', '.join(RECIPES)}, got {task!r}.")
    model = RECIPES[task]
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        items = error.errors(include_url=False)
        sentences = dict.fromkeys(describe_error(item, model, content) for item in items[:SHOWN])
        more = f"; and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
        text = "; ".join(sentences).rstrip(".") + more
        raise RecipeError(f"{where}: {text}" + ("" if text.endswith("?") else ".")) from None


def load_recipe(path: str | Path, assignments: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, apply ``extends`` and dotted overrides, and validate it.

    Args:
        path: a YAML file, or the name of a bundled recipe. Its key ``extends`` may name another recipe to
            start from: a file relative to this one, or a name.
        assignments: overrides such as ``["seed=1", "schedule.batch_size=8"]``.

    Raises:
        RecipeError: the file cannot be read, or something in it is wrong.
    """
    content = read_content(find_recipe(path))
    if "task" not in content and "variants" in content:
        raise RecipeError(f"{path} is a study, not a recipe; progcycle study {path} runs it.")
    return validate(override(content, assignments), str(path))


def recipe_from(source: Recipe | Mapping[Any, Any] | str | Path, values: Mapping[str, Any] | None = None) -> Recipe:
    """A validated recipe from any form of it.

    Args:
        source: a recipe, its content, a YAML file, or the name of a bundled recipe.
        values: overrides with Python's values, by dotted key, see :func:`override_with`.

    Raises:
        RecipeError: the file cannot be read, or something in it is wrong.
    """
    if isinstance(source, str | Path):
        content, where = read_content(find_recipe(source)), str(source)
    elif isinstance(source, Mapping):
        content, where = dict(source), "recipe"
    else:
        content, where = source.model_dump(mode="python"), "recipe"
        if not values:
            return source
    return validate(override_with(content, values or {}), where)


_written: dict[tuple[type[Recipe], str], str] = {}  # the last text: a run needs that of its recipe several times


def dump(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults included; ``load_recipe`` of it gives an equal recipe."""
    key = type(recipe), recipe.model_dump_json()
    text = _written.get(key)
    if text is None:
        text = to_text(recipe.model_dump())
        _written.clear()
        _written[key] = text
    return text


def difference(old: Recipe, new: Recipe, free: Sequence[str] = ()) -> list[str]:
    """Lines ``key: old -> new`` for every value that differs, written as in YAML; ``left out`` where there is none.

    Args:
        old, new: the recipes.
        free: keys, or sections, that may differ.
    """

    def flat(value: Any, prefix: str = "") -> dict[str, Any]:
        if prefix in free:
            return {}
        if not isinstance(value, dict):
            return {prefix: value}
        return {k: v for name, item in value.items() for k, v in flat(item, f"{prefix}.{name}".lstrip(".")).items()}

    before, after = flat(old.model_dump(mode="json")), flat(new.model_dump(mode="json"))
    keys = [*before, *(key for key in after if key not in before)]

    def written(values: Mapping[str, Any], key: str) -> str:
        value = values.get(key, "left out")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return [f"{k}: {written(before, k)} -> {written(after, k)}" for k in keys if before.get(k) != after.get(k)]


def json_schema() -> dict[str, Any]:
    """JSON Schema of recipe files, for editors.

    A file may leave out any key but ``task``, since the recipe that it ``extends`` may hold it.
    """
    models = list(RECIPES.values())
    tagged: Any = Annotated[Union[tuple(models)], Field(discriminator="task")] if len(models) > 1 else models[0]  # noqa: UP007
    schema: dict[str, Any] = TypeAdapter(tagged).json_schema()
    for model in models:
        definition = schema["$defs"][model.__name__] if len(models) > 1 else schema
        definition["properties"]["extends"] = {"type": "string", "description": "another recipe to start from"}
        definition["required"] = ["task"]
    for section in dict.fromkeys(model.network_section() for model in RECIPES.values()):  # in order: a set has none
        _describe_networks(schema["$defs"], section)
    return schema


def _forms_of_networks(schema: Any) -> Iterator[dict[str, Any]]:
    """The parts of a player's schema that are options of one network."""
    if isinstance(schema, dict) and "allOf" in schema:
        yield schema
    elif isinstance(schema, dict | list):
        for inner in schema.values() if isinstance(schema, dict) else schema:
            yield from _forms_of_networks(inner)


def _describe_networks(definitions: dict[str, Any], section: type[NetworkSection]) -> None:
    """Give every network's options a definition, and the section the keys that may be set for all of them."""
    properties = definitions[section.__name__]["properties"]
    for player, marker in players_of(section).items():
        for form in _forms_of_networks(properties[player]):
            options_class: Any = marker.options_of(form["properties"]["name"]["const"])
            name = options_class.__name__
            if "$ref" not in form["allOf"][0]:
                definitions[name] = form["allOf"][0]
                form["allOf"] = [{"$ref": f"#/$defs/{name}"}]
    for key, options in keys_for_all(section).items():
        properties[key] = definitions[options.__name__]["properties"][key]
