"""The reference of all keys of recipes, from the JSON Schema: ``progcycle.recipe.json_schema``.

For each task a page with the keys of its sections by their paths, and one page with the options of all networks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]
LEAST = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
NETWORKS = "networks"
# What the classes of options say about the networks' part; those of autoencoders say nothing.
ROLES = {
    "Discriminator": "discriminator",
    "Critic": "discriminator",
    "Projected": "discriminator",
    "Generator": "generator",
    "Translator": "translator",
    "Resnet": "translator",
    "Unet": "translator",
}


@dataclass(frozen=True)
class Row:
    """One key.

    Attributes:
        path: from the top of the recipe, or of the network.
        kind: what values it takes.
        default: as YAML writes it; "required", or "" of a section.
        meaning: a phrase.
    """

    path: str
    kind: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """Keys that belong together.

    Attributes:
        title: heading.
        words: below it.
        rows: the keys.
    """

    title: str
    words: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Page:
    """The keys of a task, or of all networks."""

    name: str
    title: str
    words: str
    tables: tuple[Table, ...]


def pages(schema: Schema) -> list[Page]:
    """The reference of a schema.

    Args:
        schema: of recipes, as ``progcycle.recipe.json_schema()`` gives it.
    """
    found = []
    places: dict[str, dict[str, None]] = {}  # of the options of networks, where they stand
    for task, reference in schema["discriminator"]["mapping"].items():
        own = schema["$defs"][_name(reference)]
        tables, top = [], []
        for key, value in own["properties"].items():
            section = _section(schema, value)
            top.append(_row(schema, own, key, value, key))
            if section is None:
                continue
            rows = tuple(_rows(schema, section, f"{key}.", task, places))
            tables.append(Table(f"`{key}`", _text(value.get("description") or section.get("description", "")), rows))
        first = Table("At the top", "", tuple(top))
        found.append(Page(task, f"Recipes of `task: {task}`", _text(own.get("description", "")), (first, *tables)))
    options = [
        Table(
            title,
            f"Of `{'`, `'.join(places[title])}`.",
            tuple(_rows(schema, schema["$defs"][definition], "", "", {}, network=True)),
        )
        for title, definition in _networks(schema)
    ]
    words = (
        "A recipe names a network, or gives `{name: ..., own options}`. The keys here stand beside the name. "
        "Discriminators that stand in a list, or by domain, have terms of the loss of their own beside their options."
    )
    return [*found, Page(NETWORKS, "Options of networks", words, tuple(options))]


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _section(schema: Schema, value: Schema) -> Schema | None:
    """The section that a key holds, if it is one: a reference, maybe beside null, another short form or a list."""
    references = [_name(part["$ref"]) for part in _parts(value) if "$ref" in part]
    sections = [schema["$defs"][name] for name in references if "properties" in schema["$defs"][name]]
    return sections[0] if len(sections) == 1 else None


def _parts(value: Schema) -> Iterator[Schema]:
    """The alternatives of a value, and what lists of it hold."""
    for part in value.get("anyOf") or value.get("oneOf") or value.get("allOf") or [value]:
        if part is not value and any(key in part for key in ("anyOf", "oneOf")):
            yield from _parts(part)
        elif isinstance(part.get("items"), Mapping):
            yield from _parts(part["items"])
        else:
            yield part


def _players(value: Schema) -> dict[str, str]:
    """The networks that a key takes by name, and the definitions of their options."""
    found = {}
    for part in _parts(value):
        name = part.get("properties", {}).get("name", {}).get("const")
        references = [one["$ref"] for one in part.get("allOf", ()) if "$ref" in one]
        if name is not None and references:
            found[name] = _name(references[0])
        for inner in part.get("properties", {}).values() if name is None else ():
            found |= _players(inner)
    return found


def _networks(schema: Schema) -> list[tuple[str, str]]:
    """Titles and definitions of all networks, in the order of the tasks; each pair once."""
    found: dict[tuple[str, str], None] = {}
    for definition in schema["$defs"].values():
        for value in definition.get("properties", {}).values():
            for name, options in _players(value).items():
                found[_title(name, options), options] = None
    return list(found)


def _title(name: str, options: str) -> str:
    role = next((role for word, role in ROLES.items() if word in options), "autoencoder")
    return f"`{name}` as {role}{', with terms of its own' if options.endswith('WithTerms') else ''}"


def _rows(
    schema: Schema, section: Schema, prefix: str, task: str, places: dict[str, dict[str, None]], network: bool = False
) -> Iterator[Row]:
    """The keys of a section, and of those in it."""
    for key, value in section.get("properties", {}).items():
        path = f"{prefix}{key}"
        players = _players(value)
        for name, options in players.items():
            places.setdefault(_title(name, options), {})[f"{task}: {path}"] = None
        yield _row(schema, section, key, value, path)
        inner = None if players else _section(schema, value)
        if inner is not None and inner is not section:
            listed = any("items" in part for part in value.get("anyOf", [value]))
            yield from _rows(schema, inner, f"{path}{'[]' if listed else ''}.", task, places, network)


def _row(schema: Schema, section: Schema, key: str, value: Schema, path: str) -> Row:
    inner = _section(schema, value)
    meaning = value.get("description") or ("" if inner is None else inner.get("description", ""))
    if not meaning and (players := _players(value)):
        meaning = f"a network: its name, or {{name: ..., own options}}; see the options of {', '.join(players)}"
    if "const" in value:
        default = yaml_text(value["const"])
    elif key in section.get("required", ()):
        default = "required"
    elif "default" not in value:
        default = ""
    else:
        default = (
            "" if inner is not None and isinstance(value.get("default"), Mapping) else yaml_text(value.get("default"))
        )
    return Row(path, "; ".join(dict.fromkeys(_kinds(schema, value))), default, _text(meaning))


def _kinds(schema: Schema, value: Schema) -> Iterator[str]:
    """What values a key takes, in words."""
    if "const" in value:
        yield f"`{yaml_text(value['const'])}`"
    elif "enum" in value:
        yield ", ".join(f"`{yaml_text(one)}`" for one in value["enum"])
    elif "$ref" in value:
        target = schema["$defs"][_name(value["$ref"])]
        if "properties" in target:
            yield "section"
        else:
            yield from _kinds(schema, target)
    elif alternatives := value.get("anyOf") or value.get("oneOf"):
        if players := _players(value):
            yield f"name of a network: {', '.join(f'`{name}`' for name in players)}; or a section with its name"
            return
        for one in alternatives:
            yield from _kinds(schema, one)
    elif "allOf" in value:
        for one in value["allOf"]:
            yield from _kinds(schema, one)
    elif value.get("type") == "array":
        yield _list(schema, value)
    elif value.get("type") == "object":
        inner = value.get("additionalProperties")
        of = "; ".join(dict.fromkeys(_kinds(schema, inner))) if isinstance(inner, Mapping) else ""
        yield f"table of {of}" if of else "table"
    else:
        limits = [f"{words} {yaml_text(value[key])}" for key, words in LEAST.items() if key in value]
        yield ", ".join((KINDS.get(value.get("type", ""), "any value"), *limits))


def _list(schema: Schema, value: Schema) -> str:
    if "prefixItems" in value:
        return f"[{', '.join('; '.join(dict.fromkeys(_kinds(schema, one))) for one in value['prefixItems'])}]"
    of = "; ".join(dict.fromkeys(_kinds(schema, value.get("items", {}))))
    count = {value.get("minItems"), value.get("maxItems")}
    number = f"{value['minItems']} of: " if len(count) == 1 and None not in count else ""
    return f"list of {number}{of}"


def yaml_text(value: Any) -> str:
    """A value as a recipe writes it, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {yaml_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(yaml_text, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(words: str) -> str:
    """The first paragraph of a description, without the marks of docstrings."""
    return " ".join(words.partition("\n\n")[0].split()).replace("``", "`")


def render(page: Page) -> str:
    """A page as Markdown."""
    lines = [f"# {page.title}", "", page.words, ""]
    for table in page.tables:
        if not table.rows:
            continue
        lines += [f"## {table.title}", "", table.words, "", "| key | values | default | meaning |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(_cell(cell) for cell in _cells(row))} |" for row in table.rows]
        lines.append("")
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    default = f"`{row.default}`" if row.default not in ("", "required") else row.default
    return f"`{row.path}`", row.kind, default, row.meaning


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
