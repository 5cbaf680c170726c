"""From the sources that a user names to the parts of a store."""

import fnmatch
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from progcycle.data.containers import Item, Options, open_container
from progcycle.data.scan import Part, find_twice
from progcycle.data.sets import find_layout
from progcycle.data.store import PARTS
from progcycle.errors import UserError

DOMAINS = ("A", "B")


@dataclass(frozen=True)
class Choice:
    """Which pictures are kept.

    Attributes:
        include, exclude: patterns of names, such as ``cats/*``; () includes all and excludes none.
        classes: the two classes that become the domains A and B; () for none.
        first: how many pictures of each part are kept, in the order of their names; 0 for all.
        min_side: pixels that the shorter side must have.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    min_side: int = 1
    first: int = 0


def collect(sources: Sequence[str], tests: Sequence[str], options: Options, choice: Choice) -> list[Part]:
    """The parts that some sources make up, their pictures listed and not yet read.

    Args:
        sources: one, which may hold two domains in a usual layout; or one for each of two domains.
        tests: as many of test pictures, or none: then those that the sources hold.
        options: how containers are read.
        choice: which pictures are kept.

    Raises:
        UserError: a source cannot be read, or has no picture that is kept.
    """
    if tests and len(tests) != len(sources):
        raise UserError(f"--test needs as many places as there are sources, {len(sources)}, and has {len(tests)}.")
    domains = DOMAINS[: len(sources)] if len(sources) > 1 else ("",)
    parts: list[Part] = []
    for domain, source in zip(domains, sources, strict=True):
        layout = None if domain or choice.classes or options.labels else _layout(source)
        if layout is not None:
            for name, path in layout.items():
                parts += _parts_of(path, {"train": name, "test": name}, options, choice)
        else:
            names = {"train": f"train{domain}", "test": f"test{domain}"}
            parts += _parts_of(source, {**names, **({"test": ""} if tests else {})}, options, choice)
    for domain, source in zip(domains, tests, strict=bool(tests)):
        name = f"test{domain}"
        parts = [part for part in parts if part.name != name] + _parts_of(
            source, {"train": name, "test": name}, options, choice
        )
    if choice.classes:
        parts = [split for part in parts for split in _by_class(part, choice.classes)]
    for part in parts:
        part.items, part.skipped = _by_name(part.items, choice)
    empty = next((part for part in parts if not part.items), None)
    if empty is not None:
        raise UserError(f"{empty.source} has no picture for {empty.name}; check --include, --exclude and --classes.")
    return sorted(parts, key=lambda part: PARTS.index(part.name))


def _layout(source: str) -> dict[str, str] | None:
    """Paths by part, if a folder or zip file holds two domains."""
    path = Path(source).expanduser().absolute()
    if not path.is_dir() and not (path.is_file() and zipfile.is_zipfile(path)):
        return None
    try:
        train, test = find_layout(source)
    except UserError:
        return None
    found = {f"train{domain}": path for domain, path in zip(DOMAINS, train, strict=True)}
    return found | {f"test{domain}": path for domain, path in zip(DOMAINS, test, strict=True) if path is not None}


def _parts_of(source: str, names: dict[str, str], options: Options, choice: Choice) -> list[Part]:
    """The parts of one container, by its splits and domains; a split without a name is left out."""
    container = open_container(source, options)
    groups: dict[str, list[Item]] = {}
    items = sorted(container.items(), key=lambda item: item.name)
    only_tests = all(item.split == "test" for item in items)  # then they are what is meant
    for item in items:
        if name := names["train" if only_tests else item.split]:
            groups.setdefault(f"{name}{item.domain.upper()}", []).append(item)
    if not groups:
        raise UserError(f"{source} has no pictures in it.")
    return [Part(name, source, container, items) for name, items in groups.items()]


def _by_class(part: Part, classes: Sequence[str]) -> list[Part]:
    """Two classes of a part as the domains A and B."""
    labels = {str(item.label) for item in part.items if item.label is not None}
    for name in classes:
        if name not in labels and part.name.startswith("train"):
            known = ", ".join(sorted(labels)[:20]) or "none"
            raise UserError(f"{part.source} has no class {name} for --classes; its classes are {known}.")
    split = []
    for domain, name in zip(DOMAINS, classes, strict=True):
        items = [replace(item, label=None) for item in part.items if str(item.label) == name]
        if items:
            split.append(replace(part, name=f"{part.name}{domain}", items=items))
    return split


def _by_name(items: Sequence[Item], choice: Choice) -> tuple[list[Item], dict[str, str]]:
    """The pictures whose names are kept, and why the others are not."""
    kept: list[Item] = []
    skipped: dict[str, str] = {}
    for item in items:
        if choice.include and not any(fnmatch.fnmatchcase(item.name, pattern) for pattern in choice.include):
            skipped[item.name] = "not in --include"
        elif any(fnmatch.fnmatchcase(item.name, pattern) for pattern in choice.exclude):
            skipped[item.name] = "in --exclude"
        elif choice.first and len(kept) == choice.first:
            skipped[item.name] = f"beyond the first {choice.first}"
        else:
            kept.append(item)
    return kept, skipped


def leave_out(parts: Sequence[Part], choice: Choice) -> None:
    """Leave out what was scanned and cannot be used, or is too small."""
    for part in parts:
        for found in part.found:
            if found.fault:
                part.skipped[found.name] = "cannot be used"
            elif min(found.width, found.height) < choice.min_side and found.width:
                part.skipped[found.name] = f"a side of less than {choice.min_side} px"


def drop_twice(parts: Sequence[Part]) -> None:
    """Leave out repeats within a part, and training pictures that are among the test pictures."""
    by_name = {part.name: part for part in parts}
    for twice in find_twice(parts):
        if twice.first == twice.second:
            by_name[twice.first].skipped.update((again, "the same as another picture") for _, again in twice.pairs)
    for twice in find_twice(parts):
        if twice.leaks:
            by_name[twice.first].skipped.update((one, f"the same as one of {twice.second}") for one, _ in twice.pairs)


def check_left(parts: Sequence[Part]) -> None:
    """Refuse parts of which nothing is left.

    Raises:
        UserError: one has no picture that is kept.
    """
    for part in parts:
        if not part.kept():
            raise UserError(f"{part.source}: no picture is left for {part.name}; see progcycle inspect.")
