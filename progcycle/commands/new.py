"""``progcycle new NAME FOLDER_A [FOLDER_B]``: survey pictures, write a recipe, and say what training takes."""

import os
import shlex
import textwrap
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.commands.cli import guarded, parser, pick_device
from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.output import say

if TYPE_CHECKING:
    from progcycle.commands.estimate import Estimate
    from progcycle.commands.new_recipe import Draft
    from progcycle.data.survey import Survey

DESCRIPTION = """Check the pictures of one or two folders, and write a recipe for them.

Two folders: translators between them. One folder: a PG-GAN that generates pictures like these. A folder may be a zip
file, and may have any name. A few steps are timed to estimate how long training takes on this device, and how much
memory."""
EXAMPLES = """examples:
  progcycle new summer photos/july photos/january
  progcycle new summer photos/july photos/january --size 128
  progcycle new flowers my_flowers.zip"""
SIZES = (32, 64, 128, 256, 512, 1024)
FEWEST = 8  # pictures of a folder
ENOUGH = {32: 200, 64: 200, 128: 400, 256: 800, 512: 2000, 1024: 5000}  # pictures by size; what fewer do is said
HELD_OUT = (0.1, 8, 200)  # share of the pictures that is held out, and from how few to how many pictures
COLUMNS = 100
HOUR, DAY = 3600.0, 86_400.0
UNDISTURBED = 0.7  # share of the processors, below which other work is to be told of


def run(argv: Sequence[str] | None = None) -> int:
    """Write the recipe, and print the survey, the estimate and what to do next."""
    p = parser("new", DESCRIPTION, EXAMPLES)
    p.add_argument("name", metavar="NAME", help="of the recipe; NAME.yaml is written")
    p.add_argument("folders", nargs="+", metavar="FOLDER", help="pictures of A, and of B; one folder for a PG-GAN")
    p.add_argument("--size", type=int, choices=SIZES, default=64, help="pixels of a side (default 64)")
    p.add_argument("--force", action="store_true", help="overwrite NAME.yaml")
    p.add_argument("--no-estimate", action="store_true", help="skip the timing")
    args = p.parse_intermixed_args(argv)
    if len(args.folders) > 2:
        raise UserError(
            f"{len(args.folders)} folders are given; translators are between two, and a PG-GAN has one (put names with "
            "spaces in quotes)."
        )
    file = recipe_file(args.name)
    if file.exists() and not args.force:
        raise UserError(f"{file} is there already; choose another NAME, or add --force to overwrite it.")
    if file.is_dir():
        raise UserError(f"{file} is a folder; choose another NAME.")
    if len(args.folders) == 2 and os.path.realpath(args.folders[0]) == os.path.realpath(args.folders[1]):
        raise UserError("Both folders are the same; translators are between two, and a PG-GAN has one.")

    from progcycle.data.survey import survey_folder

    surveys = []
    for letter, folder in zip("AB", args.folders, strict=False):
        survey = survey_folder(folder, args.size)
        surveys.append(survey)
        say(f"{letter}  {folder}" if len(args.folders) == 2 else folder)
        for line in survey.lines(args.size):
            tell(line, "   ")
    _check_counts(surveys, args.size)
    draft = _draft(file, surveys, args)
    _write(file, draft)
    _tell_estimate(draft, args)
    for line in next_steps(file, draft):
        say(line)
    return 0


def recipe_file(name: str) -> Path:
    """The file of a recipe's name, which may be a path, with or without its ending.

    Raises:
        UserError: nothing is left of the name without its ending, it has line breaks or the like in it, or ``train``
            would take it for a bundled recipe.
    """
    from progcycle.recipe import shipped_recipes

    path = Path(name)
    file = path if path.suffix in (".yaml", ".yml") else path.with_name(f"{path.name}.yaml") if path.name else None
    if file is None or file.name.startswith(".") or not name.isprintable():
        raise UserError(f"{name!r} is no name for a recipe; use one such as summer.")
    if file.stem in shipped_recipes():
        raise UserError(f"A bundled recipe is called {file.stem}; choose another NAME.")
    return file


def quoted(path: str | Path) -> str:
    """A path as a word of a command line: no blank divides it, and no dash at its start makes an option of it."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def tell(text: str, indent: str = "") -> None:
    """Print a sentence in lines of at most 100 columns; what is longer than one, such as a path, sticks out."""
    lines = textwrap.wrap(text, COLUMNS - len(indent) - 2, break_long_words=False, break_on_hyphens=False)
    say(indent + f"\n{indent}  ".join(lines))


def _check_counts(surveys: "Sequence[Survey]", size: int) -> None:
    for survey in surveys:
        usable = survey.count - len(survey.broken) - len(survey.refused)
        if usable < FEWEST:
            pictures = "picture" if usable == 1 else "pictures"
            raise UserError(
                f"{survey.path} has {usable} {pictures} that can be read; training needs at least {FEWEST}, "
                f"and some {ENOUGH[size]} are better."
            )
        if survey.count < ENOUGH[size]:
            tell(
                f"note: {survey.path} has {survey.count} pictures; with fewer than about {ENOUGH[size]} the networks "
                "may learn them by heart"
            )


def _draft(file: Path, surveys: "Sequence[Survey]", args: Namespace) -> "Draft":
    from progcycle.commands.new_recipe import Draft

    if len(surveys) == 2:
        tests = _tests(surveys)
        named = len(surveys[0].stems & surveys[1].stems)
        if named:
            tell(
                f"{named:,} names are in both folders; if these are true pairs, evaluate compares with them "
                "(data.paired), and both halves of a pair are held out together"
            )
        share = 0.0 if tests else held_out(surveys)
    else:
        tests, share = (), 0.0
        _tell_layout(surveys[0].path, file)
    gpu = pick_device(None) != "cpu"
    grey = all(survey.grey == 1 and not survey.refused for survey in surveys)
    command = f"progcycle train {quoted(file)}"
    channels = 1 if grey else 3
    return Draft(file.stem, command, tuple(surveys), args.size, gpu, share, tests, channels)


def _tests(surveys: "Sequence[Survey]") -> tuple[str, ...]:
    """Folders of test pictures beside the two: testA beside trainA, test/x beside train/x."""
    found = []
    for survey in surveys:
        path = Path(survey.path)
        beside = [path.with_name(path.name.replace("train", "test", 1))] if path.name.startswith("train") else []
        if path.parent.name == "train":
            beside.append(path.parent.with_name("test") / path.name)
        found += [str(place) for place in beside if place.is_dir()][:1]
    if len(found) < 2:
        return ()
    tell(f"test pictures: {found[0]}, {found[1]}")
    return tuple(found)


def held_out(surveys: "Sequence[Survey]") -> float:
    """Share of the pictures to hold out by name, so that each folder has some of both kinds."""
    from progcycle.data.split import name_hash

    share, fewest, most = HELD_OUT
    smallest = min(survey.count for survey in surveys)
    share = min(max(share, fewest / smallest), 0.25)
    share = round(min(share, max(most / smallest, 0.01)), 2)
    while any(sum(name_hash(stem) < share for stem in survey.stems) < 2 for survey in surveys) and share < 0.5:
        share = round(share + 0.05, 2)
    return share


def _tell_layout(path: str, file: Path) -> None:
    """A folder of two domains, given as one: this may not be what was meant."""
    from progcycle.data.sets import find_layout

    try:
        first, second = find_layout(path)[0]
    except UserError:
        return
    tell(f"note: one folder is for a PG-GAN, and {path} holds two domains; for translators between them")
    say(f"  progcycle new {quoted(file)} {quoted(first)} {quoted(second)} --force")


def _write(file: Path, draft: "Draft") -> None:
    """Write the recipe, once it is known to be one."""
    from progcycle.commands.new_recipe import content_of, write_recipe
    from progcycle.recipe import validate

    text = write_recipe(draft)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError("A folder's name holds bytes that are no text, which no recipe can name; rename it.") from None
    validate(content_of(text), str(file))
    try:
        with atomic_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{file} cannot be written ({error.strerror}); give NAME with a folder in which it can, such as "
            "/tmp/summer."
        ) from None


def _tell_estimate(draft: "Draft", args: Namespace) -> None:
    if args.no_estimate:
        return
    from progcycle.commands.estimate import estimate
    from progcycle.commands.new_recipe import content_of, write_recipe
    from progcycle.engine.formatting import duration

    say("timing a few steps ...")
    found = estimate(content_of(write_recipe(draft)))
    say(f"training at {draft.resolution} px takes about {in_words(found)}")
    if found.share < UNDISTURBED:
        tell(
            f"other work on this machine left {found.share:.0%} of its processors to these steps; alone it may take "
            f"{duration(found.seconds * found.share)}"
        )
    reading = sum(survey.count * survey.seconds for survey in draft.surveys)
    if reading > 10:
        say(f"reading the pictures for the first time takes about {duration(reading)} more")
    if found.seconds * found.share < DAY:
        return
    tell(f"this is long; {smaller(draft, found)}")


def in_words(found: "Estimate") -> str:
    """An estimate in words."""
    from progcycle.engine.formatting import duration, memory_size

    where = found.device if found.device != "cpu" else f"cpu, {found.threads} thread{'s' * (found.threads != 1)}"
    memory = "" if found.memory is None else f" and {memory_size(found.memory)} of memory"
    return f"{duration(found.seconds)}{memory} on this device ({where})"


def smaller(draft: "Draft", found: "Estimate") -> str:
    """What would fit into an hour, measured."""
    from dataclasses import replace

    from progcycle.commands.estimate import estimate
    from progcycle.commands.new_recipe import content_of, write_recipe
    from progcycle.engine.formatting import duration

    for size in sorted((size for size in SIZES if size < draft.resolution), reverse=True):
        if found.seconds * (size / draft.resolution) ** 2 > 4 * HOUR:  # far off: not worth the time to measure
            continue
        found_there = estimate(content_of(write_recipe(replace(draft, resolution=size))))
        if found_there.seconds <= HOUR or size == SIZES[0]:
            return f"--size {size} takes about {duration(found_there.seconds)}"
    return f"shorten schedule.stable_kimg, of which {HOUR / found.seconds:.1%} fit into an hour"


def next_steps(file: Path, draft: "Draft") -> list[str]:
    """The commands that follow, to be copied."""
    run, recipe = quoted(Path("runs") / file.stem), quoted(file)
    lines = [f"wrote {file}; next:", f"  progcycle train {recipe}"]
    if len(draft.surveys) == 1:
        out = quoted(f"{file.stem}_painted")
        return [*lines, f"  progcycle generate {run} --count 64 --out {out} --grid", f"  progcycle evaluate {run}"]
    source = quoted(draft.tests[0] if draft.tests else draft.surveys[0].path)
    out = quoted(f"{file.stem}_translated")
    return [*lines, f"  progcycle translate {run} {source} {out} --direction ab --grid", f"  progcycle evaluate {run}"]


main = guarded(run)
