"""Discriminators in one form: a recipe, and what is written over it, alike by domain and alike in lists.

A recipe may have one discriminator, a list of several, or either by domain, and so may what extends or overrides it.
Here both get the form that the finer of them has. Meanwhile a list is a mapping with its numbers as keys.
"""

from collections.abc import Mapping
from typing import Any

from progcycle.recipe.networks import SECTION, DiscriminatorsOf, at_place, is_opened, players_of, put_at
from progcycle.recipe.schema import RECIPES
from progcycle.recipe.values import RecipeError


def aligned(base: Mapping[Any, Any], change: Mapping[Any, Any]) -> tuple[Any, Any]:
    """A recipe and what is laid over it, with their discriminators in one form.

    A change without domains is for all of them, and one of a single domain leaves the other as it is. A list, or a
    network's name over a list, takes the place of what was there; ``{1: {...}}`` changes one of a list, or adds one.

    Args:
        base: a recipe before validation.
        change: the same, of keys that change.

    Raises:
        RecipeError: a key is for one discriminator, and there are several.
    """
    for player, marker in _markers(change, base).items():
        place = (SECTION, player)
        old, new = at_place(base, place), at_place(change, place)
        if not new:
            continue
        if marker.differs(old) or marker.differs(new):
            olds = old if marker.differs(old) else dict.fromkeys(marker.domains, old)
            news = new if marker.differs(new) else dict.fromkeys(marker.domains, new)
            both = {d: _one(olds.get(d), news[d], ".".join((*place, d))) for d in marker.domains if d in news}
            base = put_at(base, place, {**olds, **{domain: pair[0] for domain, pair in both.items()}})
            change = put_at(change, place, {**news, **{domain: pair[1] for domain, pair in both.items()}})
        else:
            pair = _one(old, new, ".".join(place))
            base, change = put_at(base, place, pair[0]), put_at(change, place, pair[1])
    return base, change


def _one(old: Any, new: Any, where: str) -> tuple[Any, Any]:
    """The same of one domain."""
    if isinstance(new, list | tuple):
        return None, new
    if isinstance(new, Mapping) and new and all(str(key).isdecimal() for key in new):
        old = _opened(old)
        for number in sorted(int(key) for key in new):
            _check_number(number, {**old, **{str(key): None for key in new if int(key) < number}}, where)
        return old, {str(key): value for key, value in new.items()}
    if new and (is_opened(old) or isinstance(old, list | tuple)):
        if isinstance(new, Mapping) and "name" not in new:
            raise _which(where, next(iter(new)))
        return None, new
    return old, new


def spread(content: Mapping[Any, Any], keys: list[Any], value: Any) -> tuple[Any, list[list[Any]]]:
    """A recipe in which a key can be set, and that key for every discriminator that it is for.

    Args:
        content: a recipe before validation.
        keys: of the sections, and of what is set.
        value: that it gets; a text for a network is its name.

    Raises:
        RecipeError: the key is for one discriminator, and there are several.
    """
    section, player, *rest = [*keys, None, None][: max(len(keys), 2)]
    marker = _markers(content).get(player) if section == SECTION else None
    if marker is None:
        return content, [keys]
    place, rest = (SECTION, str(player)), [str(key) if isinstance(key, int) else key for key in rest]
    old = at_place(content, place)
    named = not rest and isinstance(value, str)
    domains: list[list[Any]] = [[]]
    if rest and rest[0] in marker.domains:
        domains, rest = [[rest[0]]], rest[1:]
        if not marker.differs(old):
            content = put_at(content, place, dict.fromkeys(marker.domains, old))
    elif marker.differs(old) and (rest or named):
        domains = [[domain] for domain in marker.domains]
    for domain in domains:
        here = (*place, *domain)
        one, where = at_place(content, here), ".".join(here)
        if rest and rest[0].isdecimal():
            _check_number(int(rest[0]), _opened(one), where)
            content = put_at(content, here, _opened(one))
        elif is_opened(one) or isinstance(one, list | tuple):
            if rest and rest != ["name"]:
                raise _which(where, rest[0])
            content = put_at(content, here, None)
    return content, [[*place, *domain, *rest] for domain in domains]


def closed(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """A recipe in which lists of discriminators are lists again."""
    result: Any = dict(content)
    for player, marker in _markers(content).items():
        for place in ((), *((domain,) for domain in marker.domains)):
            if is_opened(value := at_place(result, (SECTION, player, *place))):
                listed = [value[key] for key in sorted(value, key=int)]
                result = put_at(result, (SECTION, player, *place), listed)
    return dict(result)


def _opened(value: Any) -> dict[str, Any]:
    """Discriminators of one domain with their numbers as keys; one alone has the number 0."""
    if isinstance(value, list | tuple):
        return {str(number): one for number, one in enumerate(value)}
    return dict(value) if is_opened(value) else {"0": value}


def _check_number(number: int, there: Mapping[str, Any], where: str) -> None:
    if number > len(there):
        raise RecipeError(f"{where}.{number}: discriminators are numbered from 0; the next one here is {len(there)}.")


def _which(where: str, key: Any) -> RecipeError:
    return RecipeError(f"{where}.{key}: there are several discriminators here; write {where}.0.{key} for the first.")


def _markers(*contents: Mapping[Any, Any]) -> dict[str, DiscriminatorsOf]:
    """The players that are discriminators, in the first of some recipes that says of which task it is."""
    tasks = [task for content in contents if isinstance(task := content.get("task"), str)]
    model = RECIPES.get(tasks[0]) if tasks else None
    players = {} if model is None else players_of(model.network_section())
    return {player: marker for player, marker in players.items() if isinstance(marker, DiscriminatorsOf)}
