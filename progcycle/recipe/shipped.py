"""Bundled recipes, studies and pictures: inside the installed package, or in the clone that Python runs from."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePath

from progcycle.errors import closest

ENDING = ".yaml"
PACKAGE = Path(__file__).parents[1]
PICTURES = Path("datasets") / "demo"  # where recipes name the bundled ones, and where a clone has them


def shipped_folder() -> Path:
    """Folder of the recipes: ``_recipes`` of an installed wheel, or ``recipes`` of the clone that Python runs from."""
    installed = PACKAGE / "_recipes"
    return installed if installed.is_dir() else PACKAGE.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Files of the bundled recipes, by name, in alphabetical order."""
    return {path.stem: path for path in sorted(shipped_folder().glob(f"*{ENDING}"))}


def shipped_studies() -> dict[str, Path]:
    """The same of the studies; recipes that only studies start from lie there too."""
    return {path.stem: path for path in sorted((shipped_folder() / "studies").glob(f"*{ENDING}"))}


def find_pictures_path(path: str | PurePath) -> Path:
    """Where pictures are: the path itself, absolute, or the bundled pictures for a relative one to ``datasets/demo``.

    A folder of that name in the current folder goes before the bundled one.

    Args:
        path: a folder, a zip file, or something inside it, with ~ for the home folder; it need not exist.
    """
    full = Path(os.path.abspath(os.path.expanduser(path)))
    if os.path.isabs(path) or not full.is_relative_to(here := Path.cwd() / PICTURES) or here.exists():
        return full
    installed = PACKAGE / "_datasets" / PICTURES.name
    return (installed if installed.is_dir() else PACKAGE.parent / PICTURES) / full.relative_to(here)


def find_recipe(name: str | Path, known: dict[str, Path] | None = None, folder: Path | None = None) -> Path:
    """The file of a recipe: the path itself if it is a file, else the bundled recipe of this name.

    Args:
        name: a path, or a name such as ``cyclegan_openmoji``, with or without its extension.
        known: bundled files by name; default: :func:`shipped_recipes`.
        folder: where relative paths start; default: the current folder.

    Returns:
        A file, or the path as it was given where there is none.
    """
    path = Path(name) if folder is None else folder / name
    try:
        if path.is_file() or Path(name).name != str(name):
            return path
    except (OSError, ValueError):  # a name that no file system takes
        return path
    return (shipped_recipes() if known is None else known).get(path.name.removesuffix(ENDING), path)


def closest_name(path: PurePath, known: Iterable[str] | None = None) -> str | None:
    """The name that is most similar to a path that does not exist.

    Args:
        path: the path.
        known: names; default: those of the bundled recipes and studies.
    """
    names = [*shipped_recipes(), *shipped_studies()] if known is None else list(known)
    return closest(path.name.removesuffix(ENDING), names)
