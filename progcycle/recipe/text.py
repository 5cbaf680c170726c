"""YAML of people and of strangers: it makes plain values and nothing else, and takes no more than a recipe needs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from progcycle.recipe.shipped import closest_name, shipped_studies
from progcycle.recipe.values import RecipeError
from progcycle.resolution import Resolution

LARGEST: Final = 256 * 1024  # bytes of a file; the longest recipes have some thousands
MOST_VALUES, DEEPEST, WIDEST = 20_000, 40, 64  # values, levels of sections and lists, bits of a whole number

NAMED: Final = "give the path of a YAML file, or one of the names that progcycle recipes lists"

# What text that YAML takes for something else ends in: @home, *x, a: b.
_UNQUOTED: Final = (yaml.scanner.ScannerError, yaml.composer.ComposerError)


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys, and reads 1e-3 as the number it is."""


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes what the loader above would read as a number, such as a folder called 1e3."""


def _as_written(dumper: _Dumper, value: Resolution) -> Any:
    return dumper.represent_data(value.plain)


_Dumper.add_representer(Resolution, _as_written)


def _no_duplicates(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, dict | list | set):
            break  # the parent names what cannot be a key
        if key in keys:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        keys.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _no_duplicates)
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def read_text(path: Path) -> str:
    """The text of a recipe file; a byte order mark, as Windows writes it, is left out.

    Raises:
        RecipeError: there is no such file, or it is too large or no UTF-8 text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)  # also of a device that never ends
        if len(content) > LARGEST:
            raise RecipeError(f"{path}: this file has more than {LARGEST // 1024} KiB, which no recipe needs.")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        if (near := closest_name(path)) == str(path) and near in shipped_studies():
            raise RecipeError(f"{path} is a bundled study, not a recipe; progcycle study {path} runs it.") from None
        raise RecipeError(
            f"There is no recipe {path}; {NAMED}" + (f"; did you mean {near}?" if near else ".")
        ) from None
    except IsADirectoryError:
        raise RecipeError(f"{path} is a folder; {NAMED}.") from None
    except RecipeError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RecipeError(f"{path}: this recipe cannot be read as UTF-8 text ({reason}).") from None


def parse(text: str, where: str) -> Any:
    """The value that YAML text stands for: mappings, lists, texts, numbers, true, false and null.

    Args:
        text: YAML.
        where: what errors lead with.

    Raises:
        RecipeError: it is not YAML, holds other kinds of values, or is larger than recipes are: too deep, too many
            values once its aliases are written out, an alias inside of itself, or a number of too many digits.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {}, frozenset())  # before anything is built: aliases can stand for endless values
        value = loader.construct_document(node)
    except RecursionError:
        raise RecipeError(f"{where}: this is not valid YAML (it is nested too deeply).") from None
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        quotes = "; text with such characters belongs in quotes" if isinstance(error, _UNQUOTED) else ""
        raise RecipeError(f"{where}{line}: this is not valid YAML ({problem}){quotes}.") from None
    _check_plain(value, where)
    return value


def to_text(value: Any) -> str:
    """A value as YAML that :func:`parse` gives back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], inside: frozenset[int]) -> tuple[int, int]:
    """Values and levels of a node with all aliases written out; each node is counted once."""
    if id(node) in inside:
        raise _refusal(node, "an alias stands inside of what it names")
    if id(node) not in known:
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        found = [_measure(part, known, inside | {id(node)}) for part in parts]
        values, levels = 1 + sum(n for n, _ in found), 1 + max((depth for _, depth in found), default=0)
        if values > MOST_VALUES:
            raise _refusal(node, f"it stands for more than {MOST_VALUES} values, which no recipe needs")
        if levels > DEEPEST:
            raise _refusal(node, f"it is nested too deeply, more than {DEEPEST} levels")
        known[id(node)] = values, levels
    return known[id(node)]


def _refusal(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _check_plain(value: Any, where: str) -> None:
    """Other kinds, such as dates and bytes, would not survive the JSON of a snapshot."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(key, where)
            _check_plain(item, where)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, where)
    elif isinstance(value, int) and value.bit_length() > WIDEST:
        raise RecipeError(f"{where}: a whole number in it has more than {WIDEST} bits; write a smaller one.")
    elif not isinstance(value, str | int | float | None):
        kind = type(value).__name__
        raise RecipeError(f"{where}: {str(value)[:60]} is a {kind} in YAML, which no key takes; put it in quotes.")
