"""Changes to a recipe from the command line, ``key.key=value``, and which keys take text."""

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from progcycle.recipe.exclusions import drop_excluded, is_player, long_form, named_keys
from progcycle.recipe.forms import spread
from progcycle.recipe.networks import players_of
from progcycle.recipe.schema import RECIPES
from progcycle.recipe.text import parse
from progcycle.recipe.values import DEFAULT, RecipeError

NOTHING = "null"


def override(content: Mapping[Any, Any], assignments: Sequence[str]) -> dict[Any, Any]:
    """Apply dotted overrides such as ``schedule.batch_size=8``.

    A key that takes text gets all that follows the ``=`` unchanged: ``data.path=horses #2`` is the folder of that
    name, and so are ``001``, ``no`` and ``@home``. There, text in quotes loses them, nothing and ``null`` empty a key
    that may be empty, and a key that takes several texts also takes a YAML list, ``[one, two]``. All other values are
    YAML. Keys of ``content`` that the overrides exclude are left out, see ``exclusions``.

    Args:
        content: a recipe before validation; its ``task`` decides which keys there are.
        assignments: the overrides, in turn.

    Raises:
        RecipeError: an assignment without ``=`` or without a key, or a value that is not YAML.
    """
    result, written = dict(content), dict[str, Any]()
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        names = dotted.strip().split(".")
        if not equals or not all(names):
            raise RecipeError(f"{assignment!r} is not an override; write key=value, for example schedule.batch_size=8.")
        task = result.get("task")
        model = RECIPES.get(task) if isinstance(task, str) else None
        value = _value(text, f"override {dotted}", text_kinds(model, names, result))
        keys: list[Any] = [int(name) if name.isdecimal() and len(name) < 20 else name for name in names]
        result = _write(result, keys, value, written)
    return drop_excluded(content, result, written)


def override_with(content: Mapping[Any, Any], values: Mapping[str, Any]) -> dict[Any, Any]:
    """Apply overrides whose values are Python's: ``{"seed": 1, "schedule.batch_size.32": 8}``.

    A mapping changes the keys that it names and leaves the others of its section, as in ``{"training": {"precision":
    "no"}}``. Keys of ``content`` that the overrides exclude are left out, as for :func:`override`.

    Args:
        content: a recipe before validation.
        values: by dotted key.

    Raises:
        RecipeError: a key without a name between its dots.
    """
    result, written = dict(content), dict[str, Any]()
    for dotted, value in values.items():
        names = dotted.split(".")
        if not all(names):
            raise RecipeError(f"{dotted!r} is not a key; write section.key, for example schedule.batch_size.")
        keys: list[Any] = [int(name) if name.isdecimal() and len(name) < 20 else name for name in names]
        for path, leaf in _leaves(keys, value):
            result = _write(result, path, leaf, written)
    return drop_excluded(content, result, written)


def _write(content: Mapping[Any, Any], keys: list[Any], value: Any, written: dict[str, Any]) -> dict[Any, Any]:
    """``content`` with a key set for every network that it is for; noted in ``written``."""
    result, places = spread(content, keys, value)
    for place in places:
        path = [*place, "name"] if isinstance(value, str) and is_player(".".join(map(str, place))) else place
        result = _set(result, path, value)
        written.update(named_keys(_nested(path, value)))
    return dict(result)


def _leaves(keys: list[Any], value: Any) -> Iterator[tuple[list[Any], Any]]:
    """The values of nested mappings with the keys that lead to them; an empty mapping is a value."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves([*keys, key], inner)
    else:
        yield keys, value


def _value(text: str, where: str, kinds: frozenset[str]) -> Any:
    """What is written, for a key of these kinds, see :func:`text_kinds`."""
    listed = "texts" in kinds and text.startswith("[") and text.endswith("]")
    if not kinds or not text or listed or (text == NOTHING and "nothing" in kinds):
        return parse(text, where)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RecipeError(f"{where}: this is not UTF-8 text.") from None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        try:
            value = parse(text, where)
        except RecipeError:
            return text
        return value if isinstance(value, str) else text
    return text


def _nested(keys: list[Any], value: Any) -> dict[Any, Any]:
    return {keys[0]: value if len(keys) == 1 else _nested(keys[1:], value)}


def _set(content: Any, keys: list[Any], value: Any, prefix: str = "") -> dict[Any, Any]:
    if isinstance(keys[0], int) and not isinstance(content, Mapping):
        content = {DEFAULT: content} if content is not None else {}  # batch_size: 8, then batch_size.256=4
    inner = dict(content) if isinstance(content, Mapping) else {}
    name = f"{prefix}{keys[0]}"
    inner[keys[0]] = value if len(keys) == 1 else _set(long_form(name, inner.get(keys[0])), keys[1:], value, f"{name}.")
    return inner


def text_kinds(model: type[BaseModel] | None, path: Sequence[Any], content: Any = None) -> frozenset[str]:
    """How a key takes text: ``text`` one, ``texts`` several, and ``nothing`` if it may be empty; none of these if not.

    Args:
        model: of the recipe; None if there is none, and so no key.
        path: names of the sections and of the key; numbers of entries in lists are skipped.
        content: the recipe, which names the networks.
    """
    parts = [part for part in path if part != "[key]"]
    last = max((i for i, part in enumerate(parts) if not isinstance(part, int)), default=-1)  # numbers in a list follow
    *sections, key = parts[: last + 1] or [""]
    while sections and model:
        found, content, used = inner_model(model, sections, content) or (None, None, 1)
        model, sections = found, sections[used:]
    field = model.model_fields.get(str(key)) if model else None
    kinds = frozenset() if field is None else _kinds(field.annotation)
    return frozenset() if "other" in kinds or kinds == {"nothing"} else kinds


def _kinds(annotation: Any) -> frozenset[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kinds(arguments[0])
    if origin in (Union, types.UnionType):
        return frozenset().union(*map(_kinds, arguments))
    if origin is tuple and arguments == (str, Ellipsis):
        return frozenset({"texts"})
    return frozenset({{str: "text", type(None): "nothing"}.get(annotation, "other")})


def inner_model(model: type[BaseModel], keys: Sequence[Any], content: Any) -> tuple[type[BaseModel], Any, int] | None:
    """The class of an inner section, what is written there, and how many keys led there; None if it is no section.

    Args:
        model: class of the section.
        keys: that lead to the inner one, and further. Numbers of entries in lists are passed over.
        content: what is written in the section, which names the network.
    """
    key, *rest = keys
    written = content.get(key) if isinstance(content, Mapping) else None
    if (player := players_of(model).get(str(key))) is not None:
        options, written, used = player.section_at(rest, written)
        return None if options is None else (options, written, 1 + used)
    field = model.model_fields.get(str(key))
    models = [] if field is None else models_of(field.annotation)
    numbers = next((i for i, part in enumerate(rest) if not isinstance(part, int)), len(rest))
    return (models[0], written, 1 + numbers) if models else None


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in getattr(annotation, "__args__", ()) for model in models_of(arg)]
