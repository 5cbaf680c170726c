"""Sets of pictures from a recipe's data section; it knows the usual folder layouts of translation."""

import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from progcycle.data.labels import find_classes
from progcycle.data.picture_set import PictureSet
from progcycle.data.scale import unaltered
from progcycle.data.source import locate, subfolders
from progcycle.data.staging import staging_folder
from progcycle.data.store import read_store
from progcycle.errors import UserError
from progcycle.recipe import DataOptions, Pictures

DOMAINS = ("a", "b")
Layout = tuple[tuple[str, str], tuple[str | None, str | None]]  # folders of training and of held-out pictures


def resolve_sets(data: DataOptions, *, resolution: int, seed: int, cache_dir: Path) -> dict[str, PictureSet]:
    """Training pictures: {"real": ...} for the unconditional task, {"a": ..., "b": ...} for translation.

    Those that ``validation`` holds out are not among them.

    Args:
        data: the recipe's data section.
        resolution: final resolution.
        seed: the run's seed.
        cache_dir: where caches go unless the recipe has a ``cache_dir``.

    Raises:
        UserError: a path is missing or has no pictures in it, a root has none of the known layouts, a picture has no
            label, or ``validation`` leaves too few pictures on one side.
    """
    make = _maker(data, resolution, seed, cache_dir, validation=data.share_held_out)
    return {domain: make(domain, options, paths) for domain, (options, paths) in _training(data).items()}


def training_set(data: DataOptions, domain: str, options: Pictures, *, resolution: int, seed: int) -> PictureSet:
    """The training pictures of one domain with other options, not augmented and without a cache.

    Args:
        data: the recipe's data section.
        domain: one of its domains.
        options: in place of the domain's own.
        resolution, seed: as of :func:`resolve_sets`, and so are the errors.
    """
    make = _maker(data, resolution, seed, None, validation=data.share_held_out)
    return make(domain, options.model_copy(update={"augment": ()}), _training(data)[domain][1])


def resolve_validation_sets(data: DataOptions, *, resolution: int, seed: int, cache_dir: Path) -> dict[str, PictureSet]:
    """The part of the training pictures that ``validation`` holds out, by domain, not augmented; {} if it is 0.

    Arguments and errors are those of :func:`resolve_sets`.
    """
    if not data.share_held_out:
        return {}
    make = _maker(data, resolution, seed, cache_dir, validation=data.share_held_out, held_out=True)
    return {
        domain: make(domain, unaltered(options, resolution), paths)
        for domain, (options, paths) in _training(data).items()
    }


def _training(data: DataOptions) -> dict[str, tuple[Pictures, tuple[str, ...]]]:
    """Options and paths of the training pictures by domain."""
    if data.layout_root is None:
        return {domain: (options, options.path or ()) for domain, options in data.domains.items()}
    folders = find_layout(data.layout_root)[0]
    return {d: (options, (folder,)) for (d, options), folder in zip(data.domains.items(), folders, strict=True)}


def resolve_test_sets(
    data: DataOptions,
    *,
    resolution: int,
    seed: int,
    cache_dir: Path,
    classes: Sequence[str] | None = None,
) -> dict[str, PictureSet]:
    """Held-out pictures by domain, not augmented: ``test_path`` where given, else what the root's layout holds.

    Domains without held-out pictures are left out; arguments and errors are those of :func:`resolve_sets`.

    Args:
        data, resolution, seed, cache_dir: as there.
        classes: names of the classes, where pictures have labels; default: those of the training pictures.
    """
    if data.label_source is not None and classes is None and any(o.test_path for o in data.domains.values()):
        classes = find_classes(data)
    make = _maker(data, resolution, seed, cache_dir, classes)
    root = data.layout_root
    found = find_layout(root)[1] if root is not None else (None,) * len(data.domains)
    sets = {}
    for (domain, options), folder in zip(data.domains.items(), found, strict=True):
        paths = options.test_path or ((folder,) if folder is not None else None)
        if paths:
            sets[domain] = make(domain, unaltered(options, resolution), paths)
    return sets


def _maker(
    data: DataOptions,
    resolution: int,
    seed: int,
    cache_dir: Path | None,
    classes: Sequence[str] | None = None,
    validation: float = 0.0,
    held_out: bool = False,
) -> Callable[[str, Pictures, tuple[str, ...]], PictureSet]:
    def make(domain: str, options: Pictures, paths: tuple[str, ...]) -> PictureSet:
        return PictureSet(
            domain,
            options,
            paths,
            resolution=resolution,
            seed=seed,
            cache_dir=Path(data.cache_dir).expanduser() if data.cache_dir and cache_dir else cache_dir,
            cache_resolution=data.cache_resolution,
            max_broken=data.max_broken,
            max_pixels=data.max_pixels,
            labels=data.label_source,
            classes=classes,
            validation=validation,
            held_out=held_out,
            stage_to=None if data.stage_to is None else staging_folder(data.stage_to),
        )

    return make


def find_layout(root: str) -> Layout:
    """The folders of both domains under a root folder or zip file.

    Known layouts, first match wins: trainA trainB (testA testB); train/<x> train/<y> (the same below test or val), the
    two in sorted order; A B. A zip file may hold them inside one enclosing folder.

    Raises:
        UserError: the root is missing or has none of these layouts.
    """
    is_zip = locate(root)[1] is not None
    base, here = root, subfolders(root)
    while is_zip and len(here) == 1 and here != ("train",):
        base = f"{base}/{here[0]}"
        here = subfolders(base)

    def pair(first: str, second: str) -> tuple[str, str]:
        return f"{base}/{first}", f"{base}/{second}"

    if {"trainA", "trainB"} <= set(here):
        test_a, test_b = pair("testA", "testB")
        return pair("trainA", "trainB"), (test_a if "testA" in here else None, test_b if "testB" in here else None)
    if "train" in here and not is_zip and read_store(locate(base)[0]) is not None:
        raise UserError(
            f"{base} is a store of one domain; prepare both into one store, or give data.a.path and data.b.path "
            "instead of data.root."
        )
    if "train" in here:
        domains = subfolders(f"{base}/train")
        if len(domains) != 2:
            raise UserError(
                f"{locate(base)[0]}: train must hold two folders, one for each domain, but holds "
                f"{', '.join(domains) or 'none'}; give data.a.path and data.b.path instead of data.root."
            )
        held_out = [_within(base, split, domains) for split in ("test", "val") if split in here]
        complete = [found for found in held_out if None not in found]
        return pair(*(f"train/{d}" for d in domains)), (complete or held_out or [(None, None)])[0]
    if {"A", "B"} <= set(here):
        return pair("A", "B"), (None, None)
    raise UserError(
        f"{locate(root)[0]} has none of the known layouts (trainA and trainB, train/<domain>/, or A and B) but "
        f"{', '.join(here) or 'no folders'}; rename them, or give {_paths_of(base, here)}."
    )


def _paths_of(base: str, folders: Sequence[str]) -> str:
    """The keys that name two folders; as they would be written, if there are two."""
    if len(folders) != 2:
        return "data.a.path and data.b.path instead of data.root"
    pair = zip(DOMAINS, folders, strict=True)
    return " ".join(shlex.quote(f"data.{domain}.path={base}/{folder}") for domain, folder in pair)


def _within(base: str, split: str, domains: tuple[str, ...]) -> tuple[str | None, str | None]:
    there = subfolders(f"{base}/{split}")
    first, second = (f"{base}/{split}/{domain}" if domain in there else None for domain in domains)
    return first, second


def cache_warning(pictures: PictureSet, resolutions: Collection[int]) -> str | None:
    """A warning if there should be a cache and no stage is read from it; else None.

    Args:
        pictures: the set.
        resolutions: the stages that will be read.
    """
    if pictures.cache is None or pictures.cache_bytes(resolutions)[0]:
        return None
    side = min(sides := pictures.read_at(resolutions))
    if any(map(pictures.in_store, sides)):
        return None
    reason = "" if side == pictures.resolution else " (load_resolution)"
    return (
        f"domain {pictures.domain}: pictures are read at {side} px{reason}, above data.cache_resolution "
        f"{pictures.cache_resolution}, and so from their files at every step; data.cache_resolution={side} caches them"
    )
