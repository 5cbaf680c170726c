"""The fingerprint of a set of pictures, by which a run recognizes its data in another folder or zip file."""

import hashlib
import os
from collections.abc import Iterable
from typing import Any

from progcycle.data.picture_set import PictureSet


def identity(pictures: PictureSet) -> dict[str, Any]:
    """The fingerprint of a set: small values for JSON.

    Names are relative to the paths, and to the folder that all of them lie in; their order counts, since training takes
    pictures by their place in it. No file is opened.

    Returns:
        ``count``; hashes of the ``names``, of names with the files' ``sizes``, and of ``labels`` ("" without).
    """
    several = len(pictures.paths) > 1
    names = [entry.name.partition("/")[2] if several else entry.name for entry in pictures.entries]
    folders = {os.path.dirname(name) for name in names}
    shared = os.path.commonpath([f"/{folder}" for folder in folders]).rstrip("/") if folders else ""
    names = [name[len(shared) :] for name in names]
    sizes = [f"{entry.stamp.partition(' ')[0]} {name}" for entry, name in zip(pictures.entries, names, strict=True)]
    labels = [pictures.classes[pictures.label_at(i)] for i in range(len(names))] if pictures.classes else []
    return {
        "count": len(names),
        "names": _hash(names),
        "sizes": _hash(sizes),
        "labels": _hash((*pictures.classes, *labels)) if labels else "",
    }


def _hash(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:32]


def describe_change(before: dict[str, Any], now: dict[str, Any]) -> str:
    """How two fingerprints differ, as a sentence; "" if they do not."""
    if before["count"] != now["count"]:
        return f"there were {before['count']:,} pictures, now there are {now['count']:,}"
    if before["names"] != now["names"]:
        return f"there are {now['count']:,} pictures as before, but some have other names"
    if before["sizes"] != now["sizes"]:
        return "some pictures are other files than before, though of the same names"
    return "some pictures have other labels than before" if before["labels"] != now["labels"] else ""
