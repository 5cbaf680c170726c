"""What a model was trained on, for whoever gets it: names of folders, and the licence of the pictures."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from progcycle.data.store import read_store
from progcycle.errors import UserError
from progcycle.recipe import find_pictures_path

LARGEST_CARD = 1 << 20  # bytes of a README.md
SPLITS = ("train", "test", "val", "a", "b")  # what folders inside a data set are called, or begin with


def paths_of(recipe: Mapping[str, Any]) -> dict[str, list[str]]:
    """The folders of training pictures, by domain; "" where there is one set or a root of both.

    Args:
        recipe: as the ``config.json`` of a snapshot has it, perhaps damaged.
    """
    data = recipe.get("data")
    data = data if isinstance(data, dict) else {}
    sections = {"": data, **{name: section for name, section in data.items() if isinstance(section, dict)}}
    found = dict[str, list[str]]()
    for name, section in sections.items():
        for key in ("path", "root"):
            value = section.get(key)
            texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            found.setdefault(name, []).extend(text for text in texts if isinstance(text, str))
    return {name: paths for name, paths in found.items() if paths}


def folders(recipe: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of those folders, without where they are on this machine."""
    return {name or "data": [Path(path).name for path in paths] for name, paths in paths_of(recipe).items()}


def data_name(recipe: Mapping[str, Any]) -> str:
    """What the pictures are called: ``openmoji`` of ``datasets/openmoji`` or ``openmoji/trainA``; or their folders."""
    names = dict[str, None]()
    for path in (Path(path) for paths in paths_of(recipe).values() for path in paths):
        inside = path.name.lower().startswith(SPLITS[:3]) or path.name.lower() in SPLITS
        names[path.parent.name if inside and path.parent.name else path.name] = None
    return " and ".join(name for name in names if name) or "unnamed pictures"


def licence_of_data(recipe: Mapping[str, Any]) -> str | None:
    """The licence that stores of the pictures, or the cards of their data sets, state; None if nothing does.

    A card is a ``README.md`` in the folder or the one above, with ``license`` in its front matter, as on the Hub.
    """
    found = dict.fromkeys(
        licence
        for paths in paths_of(recipe).values()
        for path in paths
        for folder in (find_pictures_path(path), find_pictures_path(path).parent)
        for licence in (*_of_store(folder), *_of_card(folder))
    )
    return "; ".join(found) or None


def _of_store(folder: Path) -> Iterator[str]:
    try:
        licence = (read_store(folder) or {}).get("licence")
    except (UserError, OSError):
        return
    if isinstance(licence, str) and licence:
        yield licence


def _of_card(folder: Path) -> Iterator[str]:
    file = folder / "README.md"
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_CARD:
            return
        head, _, rest = file.read_text(encoding="utf-8").partition("\n")
        front, end, _ = rest.partition("\n---")
        content = yaml.safe_load(front) if head.strip() == "---" and end else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):  # somebody's file
        return
    if not isinstance(content, dict):
        return
    licences = content.get("license")
    for licence in licences if isinstance(licences, list) else [licences]:
        if licence == "other" and isinstance(content.get("license_name"), str):
            licence = content["license_name"]
        if isinstance(licence, str) and licence.strip():
            yield " ".join(licence.split())


def without_places(value: Any) -> Any:
    """A recipe's content without where things lie on this machine: absolute paths become the names of their ends."""
    if isinstance(value, Mapping):
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(item) for item in value]
    if isinstance(value, str) and value.startswith(("/", "~")) and Path(value).name:
        return Path(value).name
    return value
