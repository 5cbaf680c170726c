"""``progcycle prepare SOURCE STORE``: look at every picture once, and make a store that training reads fast."""

import argparse
import os
import shutil
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle.commands.cli import RESOLUTION, guarded, parser, positive, resolution
from progcycle.errors import UserError
from progcycle.files import held_folder, restore_folder
from progcycle.output import bars_hidden, say, warn

if TYPE_CHECKING:
    from progcycle.data.parts import Choice
    from progcycle.data.prepare import Arrays, Work
    from progcycle.data.scan import Part
    from progcycle.data.store import Row
    from progcycle.resolution import Resolution

DESCRIPTION = """Look at every picture once, and make a store of the good ones, which training reads fast.

SOURCE is a folder, a zip file, or another container of pictures (docs/preparing.md lists them). One SOURCE may hold two
domains (trainA, trainB); two SOURCEs become the domains A and B. Everything that is wrong is printed at once, before
anything is written. What is interrupted goes on when the same command is started again.

Training reads STORE as data.root (two domains) or data.path (one). A STORE that ends in .zip is a zip file for
StyleGAN's tools, with squares of --resolution and dataset.json."""
EXAMPLES = """examples:
  progcycle prepare photos/ photos_store --resolution 256
  progcycle prepare horse2zebra.zip zebras --resolution 256
  progcycle prepare july/ january/ summer --test july_test/ january_test/ --min-side 128 --drop-duplicates
  progcycle prepare flowers/ flowers_store --labels folders
  progcycle prepare flowers/ flowers.zip --resolution 128 --labels folders"""
SHOWN = 20  # pictures that cannot be used and are printed
ORPHANS = 3.0  # seconds in which the processes of a killed command end


def run(argv: Sequence[str] | None = None) -> int:
    """Scan, report, and write the store."""
    args = _parser().parse_intermixed_args(argv)
    sources_of(args.sources)

    from progcycle.data.prepare import Work

    work = Work(Path(os.path.abspath(os.path.expanduser(args.store))))
    restore_folder(work.target)
    _check_target(work.target, args.force, [*args.sources, *args.test])
    try:
        with held_folder(work.folder, ORPHANS) as free:
            if not free:
                raise UserError(f"Another process is preparing {work.target}; wait for it, or choose another STORE.")
            return _prepare(args, args.sources, work)
    finally:
        with suppress(OSError):
            work.folder.rmdir()  # if nothing is in it


def _parser() -> argparse.ArgumentParser:
    p = parser("prepare", DESCRIPTION, EXAMPLES)
    p.add_argument("sources", nargs="+", metavar="SOURCE", help="pictures; or pictures of A and pictures of B")
    p.add_argument("store", metavar="STORE", help="what to write: a folder, or a zip file for StyleGAN's tools")
    add_reading(p)
    p.add_argument(
        "--resolution", type=resolution, metavar="R", help=f"also make arrays of R px, R/2 px and so on; {RESOLUTION}"
    )
    p.add_argument("--fit", choices=("crop", "pad", "stretch"), default="crop", help="as data.fit (default crop)")
    p.add_argument("--background", default="white", help="as data.background (default white)")
    p.add_argument("--channels", type=positive, default=3, metavar="N", help="as data.channels (default 3)")
    p.add_argument(
        "--window",
        nargs=2,
        type=float,
        metavar=("LO", "HI"),
        help="as data.window (default: of 8 bits all, else measured)",
    )
    p.add_argument(
        "--budget-gb", type=float, default=8.0, metavar="GB", help="room for arrays, the smallest first (default 8)"
    )
    p.add_argument(
        "--max-bad", type=float, default=0.01, metavar="SHARE", help="share that may be left out (default 0.01)"
    )
    p.add_argument("--drop-duplicates", action="store_true", help="leave out repeats, and test pictures in training")
    p.add_argument("--licence", default="", metavar="TEXT", help="a line about the licence of the pictures, to be kept")
    p.add_argument("--force", action="store_true", help="replace STORE if it exists")
    return p


def add_reading(p: argparse.ArgumentParser) -> None:
    """The options of what is read, which ``inspect`` has too."""
    p.add_argument("--test", nargs="+", default=[], metavar="SOURCE", help="test pictures (or those of A and B)")
    p.add_argument("--labels", metavar="FROM", help="classes: folders, or a JSON file as of data.labels")
    p.add_argument("--column", nargs="+", default=[], metavar="NAME", help="of a table: pictures (or those of A and B)")
    p.add_argument("--label-column", metavar="NAME", help="of a table: the classes (default: the only such column)")
    p.add_argument("--classes", nargs=2, default=[], metavar="NAME", help="two classes that become domains A and B")
    p.add_argument("--include", nargs="+", default=[], metavar="PATTERN", help="only names such as 'cats/*'")
    p.add_argument("--exclude", nargs="+", default=[], metavar="PATTERN", help="no names such as '*_mask.png'")
    p.add_argument("--first", type=positive, metavar="N", help="only so many of each part, by their names")
    p.add_argument("--min-side", type=positive, metavar="PX", help="leave out smaller pictures")
    p.add_argument("--max-pixels", type=positive, metavar="N", help="as data.max_pixels: larger ones are not read")
    p.add_argument("--workers", type=positive, metavar="N", help="processes (default: one for each core)")


def sources_of(sources: Sequence[str]) -> None:
    """Refuse a wrong number of sources, and the same one twice."""
    if len(sources) > 2:
        raise UserError(f"{len(sources)} sources are given; give one, or one for each of the domains A and B.")
    if len(sources) == 2 and os.path.realpath(sources[0]) == os.path.realpath(sources[1]):
        raise UserError("Both sources are the same; give two different ones, one for each domain.")


def _check_target(target: Path, force: bool, sources: Sequence[str]) -> None:
    from progcycle.data.store import STORE

    for source in sources:
        place = Path(os.path.realpath(os.path.expanduser(source)))
        if place == target or target in place.parents:
            raise UserError(f"{source} would be replaced by the store {target}; choose another STORE.")
        if place.is_dir() and place in target.parents:
            raise UserError(f"{target} lies inside of {source}, among its pictures; choose a STORE beside it.")
    if not target.exists():
        return
    if target.is_dir() and not (target / STORE).is_file() and any(target.iterdir()):
        raise UserError(f"{target} is a folder of something else; choose another STORE.")
    if not force:
        raise UserError(f"{target} already exists; choose another STORE, or add --force to replace it.")


def choice_of(args: argparse.Namespace) -> "Choice":
    """Which pictures are kept."""
    from progcycle.data.parts import Choice

    return Choice(tuple(args.include), tuple(args.exclude), tuple(args.classes), args.min_side or 1, args.first or 0)


def parts_of(args: argparse.Namespace, sources: Sequence[str]) -> "list[Part]":
    """The parts of the sources, not scanned yet."""
    from progcycle.data.containers import Options
    from progcycle.data.parts import collect

    options = Options(tuple(args.column), args.label_column, args.labels)
    return collect(sources, args.test, options, choice_of(args))


def scan_parts(args: argparse.Namespace, parts: "Sequence[Part]", memory: Path | None) -> None:
    """Scan every picture of some parts."""
    from progcycle.data.parts import leave_out
    from progcycle.data.scan import scan
    from progcycle.recipe import MAX_PIXELS

    with progress("scanning", sum(len(part.items) for part in parts)) as done:
        pixels = args.max_pixels or MAX_PIXELS
        scan(parts, max_pixels=pixels, processes=processes_of(args), memory=memory, on_scanned=done)
    leave_out(parts, choice_of(args))


def processes_of(args: argparse.Namespace) -> int:
    """How many processes work at a time."""
    return args.workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else args.workers or 1


@contextmanager
def progress(words: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, desc=words, unit="img", disable=bars_hidden()) as bar:
        yield lambda count: (bar.update(count), None)[1]


def report(sources: Sequence[str], parts: "Sequence[Part]", offenders: Path | None) -> bool:
    """Print what the scan has found; return whether the file was written.

    Args:
        sources: as they were given.
        parts: that were scanned.
        offenders: a file for the pictures that cannot be used, where they are too many to print; None: print all.
    """
    from progcycle.data.known import recognize
    from progcycle.data.scan import describe, find_twice, unbalanced

    for part in parts:
        first, *others = describe(part)
        say(first)
        for line in others:
            say(f"  {line}")
    for twice in find_twice(parts):
        warn(f"warning: test pictures are trained on: {twice}") if twice.leaks else say(str(twice))
    if (sentence := unbalanced(parts)) is not None:
        say(sentence)
    for sentence in recognize(sources, parts)[2]:
        warn(sentence) if sentence.startswith("warning") else say(sentence)
    if offenders is not None:
        offenders.unlink(missing_ok=True)  # of an earlier attempt
    bad = [(part.name, found.problem) for part in parts for found in part.offenders]
    for name, problem in bad[: SHOWN if offenders else None]:
        warn(f"{name}: {problem}")
    if offenders is not None and len(bad) > SHOWN:
        offenders.write_text("".join(f"{name}: {problem}\n" for name, problem in bad), encoding="utf-8")
        warn(f"and {len(bad) - SHOWN:,} more, which {offenders} lists too")
        return True
    return False


def _prepare(args: argparse.Namespace, sources: Sequence[str], work: "Work") -> int:
    from progcycle.data.parts import check_left, drop_twice
    from progcycle.data.prepare import readable_errors
    from progcycle.data.scan import refuse_files_of_patients, refuse_offenders

    arrays = _arrays(args)
    parts = parts_of(args, sources)
    is_zip = work.target.suffix.lower() == ".zip"
    if is_zip:
        _check_zip(parts, arrays, work.target)
    with readable_errors(work):
        scan_parts(args, parts, work.scans)
        refuse_files_of_patients(parts, args.max_bad)
        listing = work.target.with_name(f"{work.target.name}.offenders.txt")
        listed = report(sources, parts, listing)
        refuse_offenders(parts, args.max_bad, f"{listing} names all" if listed else "all are named above")
        if args.drop_duplicates:
            drop_twice(parts)
        check_left(parts)
        if is_zip and arrays is not None:
            _write_zip(args, parts[0], arrays, work)
        else:
            _write(args, sources, parts, arrays, work)
            _say_done(parts, work.target)
    return 0


def _arrays(args: argparse.Namespace) -> "Arrays | None":
    from progcycle.data.decode import parse_colour
    from progcycle.data.prepare import Arrays
    from progcycle.recipe import MOST_CHANNELS, Pictures, Window

    parse_colour(args.background)
    if args.channels > MOST_CHANNELS:
        raise UserError(f"--channels: pictures have at most {MOST_CHANNELS} channels, got {args.channels}.")
    if args.window is not None and not args.window[0] < args.window[1]:
        raise UserError("--window: LO must be below HI.")
    if args.resolution is None:
        return None
    window = None if args.window is None else Window(range=tuple(args.window))
    options = Pictures(fit=args.fit, background=args.background, channels=args.channels, window=window)
    return Arrays(args.resolution, options, args.budget_gb * 1e9)


def _write(
    args: argparse.Namespace,
    sources: Sequence[str],
    parts: "Sequence[Part]",
    arrays: "Arrays | None",
    work: "Work",
) -> None:
    from progcycle import __version__
    from progcycle.data.prepare import check_room, finish, write_about, write_pictures

    count = sum(len(part.kept()) for part in parts)
    needed = sum(found.bytes for part in parts for _, found in part.kept())
    if arrays is not None:
        named = {part.name: part for part in parts}
        for name, part in named.items():
            needed += len(part.kept()) * arrays.of_depth(named[_measured_on(name, named)]).bytes_each(count)
    check_room(work, needed)
    with progress("writing", count) as done:
        rows = {part.name: write_pictures(part, work, processes_of(args), done) for part in parts}
    write_about(parts, work, {"by": f"progcycle {__version__}", **_about(args, sources, parts)})
    if arrays is not None:
        _write_arrays(args, rows, arrays, work)
    finish(work)


def _write_arrays(
    args: argparse.Namespace, rows: "Mapping[str, Sequence[Row]]", arrays: "Arrays", work: "Work"
) -> None:
    """The arrays of all parts; test pictures are seen through the window of the training pictures."""
    from progcycle.data.prepare import measured, write_arrays
    from progcycle.recipe import MAX_PIXELS

    count, pixels = sum(map(len, rows.values())), args.max_pixels or MAX_PIXELS
    kinds: dict[str, Arrays] = {}
    with progress("arrays", count) as done:
        for name, some in rows.items():
            if (source := _measured_on(name, rows)) not in kinds:
                kinds[source] = measured(source, arrays, work, pixels, say)
            mine = kinds[source]
            write_arrays(name, some, mine, mine.resolutions(count), work, processes_of(args), pixels, done)
    for kind in dict.fromkeys(kinds.values()):
        _say_arrays(kind, kind.resolutions(count))


def _measured_on(name: str, names: Container[str]) -> str:
    """The part whose depth and window a part has: that with the training pictures, if there is one."""
    training = f"train{name.removeprefix('train').removeprefix('test')}"
    return training if training in names else name


def _check_zip(parts: "Sequence[Part]", arrays: "Arrays | None", file: Path) -> None:
    """Refuse what no zip file for StyleGAN's tools can hold."""
    if arrays is None:
        raise UserError(f"{file}: a zip file for StyleGAN's tools has squares of one size; give --resolution.")
    if not arrays.side.is_square:
        raise UserError(f"{file}: a zip file for StyleGAN's tools has squares; give one number as --resolution.")
    if len(parts) > 1:
        raise UserError(
            f"{file}: a zip file for StyleGAN's tools has one set of pictures, and the source has "
            f"{', '.join(part.name for part in parts)}; give the folder of one of them as SOURCE."
        )


def _write_zip(args: argparse.Namespace, part: "Part", arrays: "Arrays", work: "Work") -> None:
    """A zip file for StyleGAN's tools."""
    from progcycle.data.stylegan import write_stylegan_zip
    from progcycle.recipe import MAX_PIXELS

    pixels = args.max_pixels or MAX_PIXELS
    with progress("writing", len(part.kept())) as done:
        numbers = write_stylegan_zip(part, work.target, arrays.side, arrays.options, pixels, done)
    shutil.rmtree(work.folder, ignore_errors=True)
    say(f"wrote {work.target}")
    if any(name != number for name, number in numbers.items()):
        say(f"classes: {', '.join(f'{number} {name}' for name, number in numbers.items())}")


def _about(args: argparse.Namespace, sources: Sequence[str], parts: "Sequence[Part]") -> dict[str, Any]:
    """What a store says about where it comes from."""
    from progcycle.data.known import recognize

    name, licence, _ = recognize(sources, parts)
    names = (
        "include",
        "exclude",
        "classes",
        "first",
        "min_side",
        "drop_duplicates",
        "column",
        "label_column",
        "labels",
    )
    choices = {name: getattr(args, name) for name in names if getattr(args, name)}
    places = {part.name: part.source for part in parts}
    return {"sources": places, "known": name, "filter": choices, "licence": args.licence or licence}


def _say_arrays(arrays: "Arrays", resolutions: "Sequence[Resolution]") -> None:
    from progcycle.data.levels import Levels

    levels = Levels.of(arrays.options)
    words = "" if levels.plain else f", {levels.words}"
    if not resolutions:
        say("no arrays: --budget-gb has no room for the smallest")
        return
    larger = "; larger stages are read from the picture files" if resolutions[-1] < arrays.side else ""
    say(f"arrays of {resolutions[0]} to {resolutions[-1].words}{words}{larger}")


def _say_done(parts: "Sequence[Part]", target: Path) -> None:
    from progcycle.data.store import LABELS

    names = {part.name for part in parts}
    here = os.path.relpath(target)
    place = here if not here.startswith("..") else str(target)
    keys = [f"data.root={place}" if "trainA" in names else f"data.path={place}"]
    classes = {name for name in names if (target / name / LABELS).is_file()}
    unlike = "train" in classes and "test" in names - classes
    if "test" in names and not unlike:
        keys.append(f"data.test_path={place}/test")
    if "train" in classes:
        keys.append(f"data.labels={place}/train/{LABELS}")
    say(f"wrote {place}; train from it with {' '.join(keys)}")
    if unlike:
        say(f"the test pictures have no classes: data.test_path={place}/test goes without data.labels only")


main = guarded(run)
