"""Shared by the ``prepare.py`` and ``check.py`` of the data sets.

The scripts are run by path (``python datasets/openmoji/prepare.py``) and put this folder on
``sys.path`` themselves: ``datasets`` must not become a package, because it would then hide the
installed library of that name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from PIL import Image

SIZE = 64
LEAST, MOST = 8, 1024  # resolutions at which a set can be drawn
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
# What opening a damaged picture may raise.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)

# Two pictures count as the same below this root mean square difference (of 255). In all four
# styles copies lie under 6 (many are exact), near copies such as the flags of Monaco and Indonesia
# between 6 and 8, and pictures of different things above.
SAME_BELOW = 8.0

# No group may make up more than this share of the test split: Twemoji, for one, draws its 30
# families as four pictures, and a test full of them would measure little else.
LARGEST_TEST_SHARE = 0.05


class UsageError(Exception):
    """Something the user can put right; its text is one sentence."""


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a wrong command line in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see --help)")


def run(main: Callable[[], None]) -> NoReturn:
    """Run ``main``; report what the user can put right on one line, with exit code 2."""
    try:
        main()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("error: interrupted; nothing was changed", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


# ---------------------------------------------------------------- the package


def _is_package(folder: Path, name: str) -> bool:
    try:
        return bool(json.loads((folder / "package.json").read_text("utf-8"))["name"] == name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def find_package(name: str, version: str, wanted: Sequence[str], given: Path | None, scratch: Path) -> Path:
    """Folder of the unpacked npm package ``name`` in exactly this version.

    ``given`` is the package itself or a folder that holds it, such as ``node_modules``; without
    it the package is fetched into ``scratch``, and only files whose path starts with one of
    ``wanted`` are unpacked.
    """
    if given is not None:
        if not given.is_dir():
            raise UsageError(f"there is no folder {given}")
        for folder in (given, given / name):
            if _is_package(folder, name):
                break
        else:
            raise UsageError(f"{given} holds no unpacked npm package {name}")
    else:
        folder = _fetch(name, version, wanted, scratch)
    found = json.loads((folder / "package.json").read_text("utf-8")).get("version")
    if found != version:
        raise UsageError(f"{folder} holds {name} {found}, but {version} is needed")
    return folder


def _fetch(name: str, version: str, wanted: Sequence[str], scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise UsageError(
            f"npm is not installed: install Node.js, or give an unpacked {name} {version} with --package-dir"
        )
    target = scratch / name
    target.mkdir()
    print(f"fetching {name} {version} ...", flush=True)
    done = subprocess.run(
        [npm, "pack", f"{name}@{version}", "--loglevel=error"], cwd=target, capture_output=True, text=True, check=False
    )
    archives = sorted(target.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[0]
        raise UsageError(f"npm could not fetch {name} {version}: {said}")
    prefixes = tuple(f"package/{part}" for part in ("package.json", *wanted))
    with tarfile.open(archives[0]) as archive:
        members = [m for m in archive.getmembers() if m.isfile() and m.name.startswith(prefixes)]
        archive.extractall(target, members, filter="data")
    archives[0].unlink()
    return target / "package"


def fetch_debian(name: str, given: Path | None, scratch: Path, option: str = "--deb") -> Path:
    """Folder of the unpacked Debian package ``name``: from the file ``given`` with ``option``, or fetched with apt.

    Raises:
        UsageError: there is no such file, no tool to unpack it, or apt cannot fetch it.
    """
    if shutil.which("dpkg-deb") is None:
        raise UsageError("dpkg-deb is not installed: it unpacks Debian packages, and comes with Debian and Ubuntu")
    if given is not None and not given.is_file():
        raise UsageError(f"there is no file {given}")
    target = scratch / name
    target.mkdir()
    if given is None:
        print(f"fetching {name} ...", flush=True)
        done = subprocess.run(
            ["apt-get", "download", "-qq", name], cwd=target, capture_output=True, text=True, check=False
        )
        files = sorted(target.glob("*.deb"))
        if done.returncode != 0 or len(files) != 1:
            said = (done.stderr.strip() or "no message").splitlines()[-1]
            raise UsageError(
                f"apt could not fetch {name} ({said}); run apt-get update, or give a .deb file with {option}"
            )
        given = files[0]
    done = subprocess.run(["dpkg-deb", "-x", str(given), str(target)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(f"{given} cannot be unpacked: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return target


def read_list(path: Path) -> list[dict[str, Any]]:
    """The list of emoji in a package."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    if not isinstance(data, list):
        raise UsageError(f"{path} is not a list of emoji")
    return data


def expect(what: str, found: int, wanted: int) -> None:
    """Refuse a count that is not the known one: the package would not be the one we know."""
    if found != wanted:
        raise UsageError(f"expected {wanted} {what}, found {found}")


# ---------------------------------------------------------------- pictures


def on_white(picture: Image.Image) -> Image.Image:
    """The picture on a white ground, as RGB and without metadata."""
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture.convert("RGBA"))
    return ground.convert("RGB")


def same_pictures(pictures: Mapping[str, Image.Image]) -> list[tuple[str, str]]:
    """Pairs of names whose pictures are the same to the eye (see ``SAME_BELOW``)."""
    names = sorted(pictures)
    flat = np.stack([np.asarray(pictures[name], np.float64).ravel() for name in names])
    # Sums of products of whole numbers under 2**53 are exact in float64, whatever the order the
    # linear algebra library adds them in; so this gives the same answer on every machine.
    products = flat @ flat.T
    squares = np.diag(products)
    apart = (squares[:, None] + squares[None, :] - 2 * products) / flat.shape[1]
    first, second = np.nonzero(np.triu(apart < SAME_BELOW**2, 1))
    return [(names[i], names[j]) for i, j in zip(first, second, strict=True)]


class Drawn(Mapping[str, Image.Image]):
    """Pictures by name, each drawn when it is asked for, so that a set of large ones need not fit into memory."""

    def __init__(self, names: Iterable[str], draw: Callable[[str], Image.Image]) -> None:
        self._names, self._draw = dict.fromkeys(names), draw

    def __getitem__(self, name: str) -> Image.Image:
        if name not in self._names:
            raise KeyError(name)
        return self._draw(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def preview(rows: Sequence[Mapping[str, Image.Image]], names: Sequence[str]) -> Image.Image:
    """A contact sheet: one column a name, one row a style, small pictures enlarged to at least 128 px."""
    size = rows[0][names[0]].width
    side = size * max(2 * SIZE // size, 1)
    return squares([[row[name] for name in names] for row in rows], side, gap=8, ground="#dddddd")


def squares(rows: Sequence[Sequence[Image.Image]], side: int, gap: int, ground: str) -> Image.Image:
    """Square pictures in rows, each brought to one size: by whole pixels where it grows.

    Scripts of data sets run where progcycle is not installed, so that they do not take its contact sheets.

    Args:
        rows: pictures, row by row.
        side: of each, in pixels.
        gap: pixels around them.
        ground: colour between them.
    """
    sheet = Image.new("RGB", (gap + len(rows[0]) * (side + gap), gap + len(rows) * (side + gap)), ground)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            how = Image.Resampling.LANCZOS if picture.width > side else Image.Resampling.NEAREST
            shown = picture.convert("RGB").resize((side, side), how)
            sheet.paste(shown, (gap + x * (side + gap), gap + y * (side + gap)))
    return sheet


# ---------------------------------------------------------------- the split

_FAMILY = "family"
_ADULTS = {"1f468", "1f469", "1f9d1"}
_PEOPLE = _ADULTS | {"1f466", "1f467", "1f9d2"}
_HAIR = {"1f9b0", "1f9b1", "1f9b2", "1f9b3"}
# Later parts of a sequence that only say which gender or which direction.
_QUALIFIERS = {"2640", "2642", "27a1"}

# Variants of one emoji that Unicode gave code points of their own.
_ALIASES = {
    alias: key
    for key, aliases in {
        _FAMILY: ("1f46a", "1f46b", "1f46c", "1f46d", "1f48f", "1f491"),
        "adult": ("1f468", "1f469", "1f9d1", "1f471", "1f9d4"),
        "child": ("1f466", "1f467", "1f9d2"),
        "older": ("1f474", "1f475", "1f9d3"),
        "royalty": ("1f934", "1f478", "1fac5"),
        "claus": ("1f385", "1f936", "adult-1f384"),
        "pregnant": ("1f930", "1fac3", "1fac4"),
        "feeding": ("1f931", "adult-1f37c"),
        "dancer": ("1f483", "1f57a"),
    }.items()
    for alias in aliases
}


def group_key(name: str) -> str:
    """The emoji of which ``name`` (code points joined by ``-``) is a variant.

    Gender, hair and direction do not count, and families, couples and kisses are all one group:
    a network that trained on one of them has as good as seen the others.
    """
    parts = [[p for p in part.split("-") if p != "fe0f"] for part in name.lower().split("-200d-")]
    joined = ["-".join(part) for part in parts]
    head, tail = joined[0], [p for p in joined[1:] if p not in _QUALIFIERS and p not in _HAIR]
    if head in _PEOPLE and any(part in _PEOPLE for part in tail):
        return _FAMILY
    if head in _ADULTS and tail:
        head = "adult"
    key = "-".join([head, *tail])
    return _ALIASES.get(key, key)


def split(
    names: Iterable[str], test_size: int, alike: Iterable[tuple[str, str]] = (), never_test: Iterable[str] = ()
) -> dict[str, str]:
    """Give each name its place: ``test``, ``A`` or ``B``.

    Names of one group, and names of ``alike`` pairs, stay together. Groups are taken in the order
    of a hash of their key; those that fit fill the test split to exactly ``test_size``, then A to
    half of what is left, and the others are B. Very large groups, and those with a name of
    ``never_test``, are for training only.
    """
    names = sorted(names)
    key_of = {name: group_key(name) for name in names}
    parent = {key: key for key in key_of.values()}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    for first, second in alike:
        one, other = sorted((root(key_of[first]), root(key_of[second])))
        parent[other] = one

    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(root(key_of[name]), []).append(name)
    order = sorted(groups, key=lambda key: blake2b(key.encode(), digest_size=16).digest())

    barred = {root(key_of[name]) for name in never_test}
    barred |= {key for key in groups if len(groups[key]) > test_size * LARGEST_TEST_SHARE}
    place: dict[str, str] = {}

    def fill(where: str, room: int, keys: Iterable[str]) -> int:
        for key in keys:
            members = groups[key]
            if members[0] not in place and len(members) <= room:
                place.update(dict.fromkeys(members, where))
                room -= len(members)
        return room

    if fill("test", test_size, (key for key in order if key not in barred)):
        raise UsageError(f"the groups do not fill a test split of exactly {test_size}")
    fill("A", (len(names) - len(place)) // 2, order)
    fill("B", len(names), order)
    return place


def hold_out(
    place: Mapping[str, str], count: int, barred: Callable[[str], bool] = lambda name: False
) -> dict[str, str]:
    """The split with other test pictures: ``count`` names of training, half of A and half of B; the test is left out.

    To choose options by. The other members of a group stay in training, all on the side of the one that left: their
    answers are not seen there.
    """
    held: set[str] = set()
    for side in "AB":
        names = [name for name, where in place.items() if where == side and not barred(name)]
        names.sort(key=lambda name: blake2b(f"held-out {name}".encode()).hexdigest())
        held |= set(names[: count // 2])
    expect("names to hold out", len(held), count)
    return {name: "test" if name in held else where for name, where in place.items() if where != "test"}


# ---------------------------------------------------------------- writing


def add_variants(parser: argparse.ArgumentParser, here: Path) -> None:
    """The options of a drawn set: where to write, at what resolution, and with which test pictures."""
    parser.add_argument(
        "--out", type=Path, default=here, metavar="DIR", help="where to write (default: beside this script)"
    )
    parser.add_argument(
        "--resolution", type=int, default=SIZE, metavar="N", help=f"side of the pictures in px (default: {SIZE})"
    )
    parser.add_argument(
        "--held-out",
        type=int,
        metavar="N",
        help="make a set to choose options by: pairs of N training names for its test, the test pictures left out",
    )


def check_variants(options: argparse.Namespace, here: Path) -> None:
    """Refuse a resolution that cannot be drawn, and another set than the bundled one in its folder."""
    if not LEAST <= options.resolution <= MOST:
        raise UsageError(f"--resolution is a number of pixels from {LEAST} to {MOST}, not {options.resolution}")
    others = [("--held-out", options.held_out is not None), ("--resolution", options.resolution != SIZE)]
    for option, other in others:
        if other and options.out.resolve() == here:
            raise UsageError(f"{option} makes another set than the bundled one: give it a folder with --out")


def refuse_foreign(target: Path, folders: Iterable[str], names: Iterable[str], suffix: str = ".png") -> None:
    """Refuse to replace folders that hold anything this recipe does not make."""
    known = {f"{name}{suffix}" for name in names}
    for folder in folders:
        if (target / folder).is_dir():
            foreign = sorted(set(os.listdir(target / folder)) - known)
            if foreign:
                raise UsageError(
                    f"{target / folder} holds {foreign[0]}, which this script does not make: move it away first"
                )


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A temporary folder on the file system of ``target``, so that a rename can move out of it."""
    target.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=target))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def publish(
    target: Path,
    scratch: Path,
    content: Mapping[str, Mapping[str, Image.Image]],
    sheet: Image.Image,
    suffix: str = ".png",
    texts: Mapping[str, bytes] | None = None,
    saving: Mapping[str, Any] | None = None,
) -> None:
    """Write the folders, the preview and ``texts`` (files by name) completely, then swap them in; undo it on trouble.

    The pictures' format is that of ``suffix``; ``saving`` says how Pillow writes it.
    """
    texts = texts or {}
    new, old = scratch / "new", scratch / "old"
    new.mkdir()
    old.mkdir()
    for folder, pictures in content.items():
        (new / folder).mkdir()
        for name in sorted(pictures):
            pictures[name].save(new / folder / f"{name}{suffix}", optimize=True, **(saving or {}))
    sheet.save(new / "preview.png", optimize=True)
    for name, text in texts.items():
        (new / name).write_bytes(text)

    moved: list[str] = []
    try:
        for item in (*content, "preview.png", *texts):
            moved.append(item)
            if (target / item).exists():
                (target / item).rename(old / item)
            (new / item).rename(target / item)
    except BaseException:
        for item in reversed(moved):
            if (old / item).exists():
                if (target / item).exists():
                    (target / item).rename(new / item)
                (old / item).rename(target / item)
        raise
    for folder, pictures in content.items():
        print(f"{folder:12} {len(pictures):5}")


def publish_pairs(
    target: Path,
    scratch: Path,
    a: Mapping[str, Image.Image],
    b: Mapping[str, Image.Image],
    place: Mapping[str, str],
    texts: Mapping[str, bytes] | None = None,
) -> None:
    """Write trainA and trainB, which have no name in common, the pairs of testA and testB, and a preview of these."""
    names = {where: sorted(name for name in place if place[name] == where) for where in ("A", "B", "test")}
    test = names["test"]
    folders = {"trainA": (names["A"], a), "trainB": (names["B"], b), "testA": (test, a), "testB": (test, b)}
    sheet = preview((a, b), test[len(test) // 16 :: max(len(test) // 8, 1)][:8])
    content = {folder: Drawn(chosen, pictures.__getitem__) for folder, (chosen, pictures) in folders.items()}
    publish(target, scratch, content, sheet, texts=texts)


# ---------------------------------------------------------------- checking


def pictures_in(place: Path) -> list[Path | str]:
    """All pictures under a folder, or the names of all pictures in a zip archive."""
    if place.is_dir():
        return sorted(p for p in place.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
    if place.is_file():
        try:
            with zipfile.ZipFile(place) as archive:
                return sorted(
                    name
                    for name in archive.namelist()
                    if Path(name).suffix.lower() in PICTURE_SUFFIXES and not name.startswith("__MACOSX/")
                )
        except zipfile.BadZipFile:
            raise UsageError(f"{place} is not a whole zip archive") from None
    raise UsageError(f"there is no folder or archive {place}")


def measure(place: Path) -> Counter[tuple[int, int]]:
    """How many pictures of which (width, height) lie in a folder or zip archive."""
    sizes: Counter[tuple[int, int]] = Counter()

    def add(name: Path | str, source: Path | IO[bytes]) -> None:
        try:
            with Image.open(source) as picture:  # reads the header only
                sizes[picture.size] += 1
        except UNREADABLE:
            raise UsageError(f"{place}: {name} is not a readable picture") from None

    found = pictures_in(place)
    if place.is_dir():
        for path in found:
            add(path, Path(path))
    else:
        with zipfile.ZipFile(place) as archive:
            for name in found:
                with archive.open(str(name)) as stream:
                    add(name, stream)
    return sizes


def report(label: str, sizes: Counter[tuple[int, int]]) -> None:
    """One line a size: place, count, width x height."""
    if not sizes:
        print(f"{label:8} {0:7}  -")
    for (width, height), count in sorted(sizes.items()):
        print(f"{label:8} {count:7}  {width} x {height}")
