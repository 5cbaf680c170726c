"""Classes of pictures: from the folders that they lie in, or from a JSON file."""

import json
import os
import posixpath
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from progcycle.data.source import LARGEST, Entry, list_pictures, read_member
from progcycle.data.store import LABELS
from progcycle.errors import UserError
from progcycle.recipe import DataOptions

FOLDERS = "folders"
SHOWN = 20  # names in an error
Label = int | str


class NoLabels(UserError):  # noqa: N818  # a file that says so
    """A file of labels that says that there are none, as StyleGAN's tools write it."""


def find_classes(data: DataOptions) -> tuple[str, ...]:
    """Names of the classes of the training pictures, in the order of their numbers; () without ``labels``.

    Raises:
        UserError: the pictures or their labels cannot be read, a picture has none, or all are of one class.
    """
    if data.label_source is None:
        return ()
    paths = [path for options in data.domains.values() for path in options.path or ()]
    return read_labels(data.label_source, list_pictures(paths), paths)[0]


def read_labels(
    source: str, entries: Sequence[Entry], paths: Sequence[str], classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes, and the number of every picture's class.

    Classes are sorted: names by their letters, the numbers of a JSON file by their value.

    Args:
        source: ``folders``, where the first folder below a path is the class (one that encloses all of a zip file is
            skipped); or a JSON file, which may be in a zip file (``x.zip/dataset.json``). It holds
            ``{"labels": [["cat/1.png", 3], ...]}``, that list alone, or ``{"cat/1.png": 3, ...}``, with numbers or
            names as labels. Pictures are named from the file's own folder, or as they are listed (from their path).
        entries: the pictures.
        paths: where they come from.
        classes: the classes that there are, for held-out pictures; default: those of the pictures.

    Returns:
        Names of the classes, and their numbers by picture.  # [N] int64

    Raises:
        UserError: a label is missing, wrong or of another class, or all pictures are of one class.
    """
    labels = raw_labels(source, entries, len(paths) > 1)
    if classes is None:
        names = tuple(map(str, sorted(set(labels))))
        if len(names) == 1:
            raise UserError(
                f"data.labels: all {len(entries)} pictures are of one class ({names[0]}), so that there is nothing to "
                "tell apart; leave data.labels out."
            )
    else:
        names = tuple(classes)
    numbers = {name: i for i, name in enumerate(names)}
    for entry, label in zip(entries, labels, strict=True):
        if str(label) not in numbers:
            raise UserError(
                f"data.labels: {entry.name} is of the class {label}, which no training picture has; the classes are "
                f"{list_names(names)}."
            )
    return names, np.array([numbers[str(label)] for label in labels], np.int64)


def raw_labels(source: str, entries: Sequence[Entry], several: bool) -> list[Label]:
    """The class of every picture as it is given: a name, or a number of a JSON file.

    Args:
        source, entries: as of :func:`read_labels`.
        several: whether the pictures come from several paths.

    Raises:
        UserError: a label is missing or wrong; :class:`NoLabels` if the file says that there are none.
    """
    return _by_folder(entries, several) if source == FOLDERS else _by_file(source, entries)


def list_names(names: Sequence[str]) -> str:
    """Names for a sentence, the first 20 of them if there are more."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _by_folder(entries: Sequence[Entry], several: bool) -> list[Label]:
    inner = [entry.name.split("/")[several:] for entry in entries]  # the names of several paths begin with the path
    loose = [entry.name for entry, parts in zip(entries, inner, strict=True) if len(parts) == 1]
    if loose:
        raise UserError(
            f"data.labels: {len(loose)} of {len(entries)} pictures lie in no folder below their path and so have no "
            f"class, the first is {loose[0]}; move them into a folder named like their class."
        )
    places = [(entry.name.partition("/")[0] if several else "") if entry.member else None for entry in entries]
    for place in {place for place in places if place is not None}:
        mine = [i for i, other in enumerate(places) if other == place]
        depth = _enclosing([inner[i] for i in mine])
        for i in mine:
            inner[i] = inner[i][depth:]
    return [parts[0] for parts in inner]


def _enclosing(names: Sequence[Sequence[str]]) -> int:
    """How many folders, one in the other, enclose everything and have folders below them."""
    depth = 0
    while all(len(parts) > depth + 2 for parts in names) and len({parts[depth] for parts in names}) == 1:
        depth += 1
    return depth


def _by_file(source: str, entries: Sequence[Entry]) -> list[Label]:
    file = _of_same_store(Path(os.path.abspath(os.path.expanduser(source))), entries)
    known = _parse(_read(file), file)
    top = unicodedata.normalize("NFC", file.parent.as_posix().rstrip("/")) + "/"

    def find(entry: Entry) -> Label | None:
        place = Path(entry.file, entry.member or "").as_posix()
        place = unicodedata.normalize("NFC", place)
        label = known.get(place[len(top) :]) if place.startswith(top) else None
        return known.get(entry.name) if label is None else label

    labels = [find(entry) for entry in entries]
    missing = [entry.name for entry, label in zip(entries, labels, strict=True) if label is None]
    if missing:
        raise UserError(
            f"data.labels: {file} has no label for {len(missing)} of {len(entries)} pictures, the first is "
            f"{missing[0]}; it must name every picture, from its own folder or from the path of the pictures."
        )
    return [label for label in labels if label is not None]


def _of_same_store(file: Path, entries: Sequence[Entry]) -> Path:
    """The file of classes of the part of a store that pictures are in, where that of another part is given."""
    parts = {Path(os.path.abspath(entry.file)).parent for entry in entries if entry.at is not None}
    if file.name == LABELS and len(parts) == 1:
        (part,) = parts
        if part.parent == file.parent.parent and (part / LABELS).is_file():
            return part / LABELS
    return file


def _read(file: Path) -> bytes:
    try:
        if os.path.isfile(file):
            if (size := file.stat().st_size) > LARGEST:
                raise ValueError(f"it has {size} bytes, more than {LARGEST}")
            return file.read_bytes()
        for parent in file.parents:
            if os.path.isfile(parent) and zipfile.is_zipfile(parent):
                with zipfile.ZipFile(parent) as archive:
                    return read_member(archive, file.relative_to(parent).as_posix())
    except KeyError:  # the zip file has no such member
        pass
    except Exception as error:  # a zip member can fail in many ways: checksum, encryption, compression
        raise UserError(f"data.labels: {file} cannot be read ({error}).") from None
    raise UserError(
        f"data.labels: there is no file {file}; give the path of a JSON file, or {FOLDERS} for the folders that the "
        "pictures lie in."
    )


def _parse(text: bytes, file: Path) -> dict[str, Label]:
    """Labels by the pictures' names.

    Raises:
        UserError: the text is not JSON or of another form, or a label is wrong.
    """
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"data.labels: {file} cannot be read as JSON ({error}).") from None
    if isinstance(content, dict) and content.get("labels", "") is None:
        raise NoLabels(f"data.labels: {file} says that its pictures have no labels (null); leave data.labels out.")
    if isinstance(content, dict) and not isinstance(content.get("labels", ""), int | str):
        content = content["labels"]
    pairs: Iterable[Any] = content.items() if isinstance(content, dict) else content
    if not isinstance(content, list | dict) or not all(_is_pair(pair) for pair in pairs):
        raise UserError(
            f'data.labels: {file} must hold {{"labels": [["name.png", label], ...]}}, that list alone, or '
            '{"name.png": label, ...}.'
        )
    labels: dict[str, Label] = {}
    kinds: dict[type, str] = {}
    for given, label in pairs:
        name = posixpath.normpath(unicodedata.normalize("NFC", given))
        if type(label) not in (int, str) or label == "":
            raise UserError(f"data.labels: {file} has the label {label!r} for {given}; it must be a number or a name.")
        if labels.setdefault(name, label) != label:
            raise UserError(f"data.labels: {file} has two labels for {given}, {labels[name]} and {label}.")
        kinds.setdefault(type(label), given)
    if len(kinds) > 1:
        raise UserError(
            f"data.labels: {file} mixes numbers ({kinds[int]}) and names ({kinds[str]}); make all labels of one kind."
        )
    return labels


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)
