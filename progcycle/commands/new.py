"""``progcycle new NAME --a FOLDER --b FOLDER``: check pictures, write a recipe, and estimate what training takes."""

import os
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.commands.cli import RESOLUTION, guarded, parser, pick_device, resolution
from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.output import say
from progcycle.resolution import Resolution

if TYPE_CHECKING:
    from progcycle.engine.estimate import Estimate
    from progcycle.recipe import Draft

DESCRIPTION = """Check the pictures of one or two folders, and write a recipe for them.

With two folders the recipe trains translators between them; with one folder it trains a PG-GAN, which generates
pictures like these. A folder may have any name, and a zip file will do too. The recipe follows from the sizes, depth
and channels of the pictures, and from the device. A few training steps are timed, to estimate how long training takes
here and how much memory it needs."""
EXAMPLES = """examples:
  progcycle new summer photos/july photos/january
  progcycle new summer --a photos/july --b photos/january --size 128
  progcycle new wide landscapes/ --size 128x192
  progcycle new flowers my_flowers.zip"""
SMALLEST = 32  # that is suggested
COLUMNS, GLUE = 100, "\N{NO-BREAK SPACE}"
HOUR, DAY = 3600.0, 86_400.0
UNDISTURBED = 0.7  # share of the processors, below which a line reports that other programs run


def run(argv: Sequence[str] | None = None) -> int:
    """Write the recipe, and print what was found, the estimate and the next commands."""
    p = parser("new", DESCRIPTION, EXAMPLES)
    p.add_argument("name", metavar="NAME", help="name of the recipe; the file NAME.yaml is written")
    # Without a default, argparse would call the folders required where they are given as options.
    p.add_argument(
        "folders", nargs="*", default=[], metavar="FOLDER", help="pictures of A and pictures of B, or of a PG-GAN"
    )
    p.add_argument("--a", metavar="FOLDER", help="pictures of A, in place of the first FOLDER")
    p.add_argument("--b", metavar="FOLDER", help="pictures of B, in place of the second FOLDER")
    p.add_argument("--size", type=resolution, default=Resolution(64), metavar="R", help=f"{RESOLUTION} (default 64)")
    p.add_argument("--force", action="store_true", help="overwrite NAME.yaml if it exists")
    p.add_argument("--no-estimate", action="store_true", help="do not time training")
    args = p.parse_intermixed_args(argv)
    args.folders = _folders(args.folders, args.a, args.b)
    if len(args.folders) > 2:
        raise UserError(
            f"{len(args.folders)} folders are given; give two for translators or one for a PG-GAN, and put names with "
            "spaces in quotes."
        )
    file = recipe_file(args.name)
    if file.is_dir():
        raise UserError(f"{file} is a folder; choose another NAME.")
    if file.exists() and not args.force:
        raise UserError(f"{file} already exists; choose another NAME, or add --force to overwrite it.")
    if len(args.folders) == 2 and os.path.realpath(args.folders[0]) == os.path.realpath(args.folders[1]):
        raise UserError("Both folders are the same; give two different ones for translators, or one for a PG-GAN.")

    from progcycle.data.new_recipe import check_size, draft_for
    from progcycle.data.survey import survey_folder

    check_size(args.size)
    surveys = []
    for letter, folder in zip("AB", args.folders, strict=False):
        survey = survey_folder(folder, args.size)
        surveys.append(survey)
        say(f"{letter}  {folder}" if len(args.folders) == 2 else folder)
        for line in survey.lines(args.size):
            say_wrapped(line, "   ")
    command, gpu = f"progcycle train {quoted(file)}", pick_device(None) != "cpu"
    draft = draft_for(surveys, args.size, name=file.stem, command=command, gpu=gpu)
    for note in draft.notes:
        say_wrapped(note)
    if len(surveys) == 1:
        _note_layout(args.folders[0], file)
    _write(file, draft)
    if not args.no_estimate:
        found = _say_estimate(draft, sum(survey.count * survey.seconds for survey in surveys))
        _write(file, replace(draft, measured=str(found).replace(" on this device", "")))
    for line in next_steps(file, draft):
        say(line)
    return 0


def _folders(given: list[str], a: str | None, b: str | None) -> list[str]:
    """The folders of A and B, however they are given.

    Raises:
        UserError: there is none, only that of B, or both ways are mixed.
    """
    named = [folder for folder in (a, b) if folder is not None]
    if given and named:
        raise UserError("Give the folders by --a and --b, or without these options; not both.")
    if b is not None and a is None:
        raise UserError("--b needs --a FOLDER too; for a PG-GAN give its one folder by --a, or without an option.")
    if not given and not named:
        raise UserError("new needs pictures: two folders for translators, or one for a PG-GAN.")
    return given or named


def recipe_file(name: str) -> Path:
    """The file of a recipe's name, which may be a path, with or without the ending ``.yaml``.

    Raises:
        UserError: the name is empty but for its ending, it has line breaks or the like in it, or ``train`` would take
            it for a bundled recipe.
    """
    from progcycle.recipe import shipped_recipes

    path = Path(name)
    file = path if path.suffix in (".yaml", ".yml") else path.with_name(f"{path.name}.yaml") if path.name else None
    if file is None or file.name.startswith(".") or not name.isprintable():
        raise UserError(f"{name!r} is not a name for a recipe; choose one such as summer.")
    if file.stem in shipped_recipes():
        raise UserError(f"There is a bundled recipe called {file.stem}; choose another NAME.")
    return file


def quoted(path: str | Path) -> str:
    """A path to be copied into a command line: quoted, and with ./ before a dash that would make it an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def say_wrapped(text: str, indent: str = "") -> None:
    """Print a sentence in lines of at most 100 columns; what is longer than one, such as a path, sticks out."""
    lines = textwrap.wrap(text, COLUMNS - len(indent) - 2, break_long_words=False, break_on_hyphens=False)
    say((indent + f"\n{indent}  ".join(lines)).replace(GLUE, " "))


def _note_layout(path: str, file: Path) -> None:
    """A note about a folder of two domains that is given as one, which may not be what the user means."""
    from progcycle.data.sets import find_layout

    try:
        first, second = find_layout(path)[0]
    except UserError:
        return
    say_wrapped(f"note: one folder is for a PG-GAN, and {path} holds two domains; for translators between them, run")
    say(f"  progcycle new {quoted(file)} {quoted(first)} {quoted(second)} --force")


def _write(file: Path, draft: "Draft") -> None:
    """Write the recipe once it has been validated."""
    _ = draft.recipe
    try:
        with atomic_file(file) as temporary:
            temporary.write_text(draft.text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{file} cannot be written ({error.strerror}); give NAME with a folder that can be written, such as "
            "/tmp/summer."
        ) from None


def _say_estimate(draft: "Draft", reading: float) -> "Estimate":
    """Time the recipe, print what it takes, and give it back.

    Args:
        draft: of the recipe.
        reading: seconds to read all pictures once.
    """
    from progcycle.engine.estimate import estimate
    from progcycle.engine.formatting import duration

    say("timing a few steps ...")
    found = estimate(draft.recipe)
    say(f"training at {draft.resolution} px takes about {found}")
    if found.share < UNDISTURBED:
        say_wrapped(
            f"other programs left {found.share:.0%} of the processors to these steps; without them training may take "
            f"{duration(found.seconds * found.share).replace(' ', GLUE)}"
        )
    if reading > 10:
        say(f"reading the pictures for the first time takes another {duration(reading)} or so")
    if found.seconds * found.share >= DAY:
        say_wrapped(f"to train in less time: {smaller(draft, found)}")
    return found


def smaller(draft: "Draft", found: "Estimate") -> str:
    """What would fit into an hour, measured."""
    from progcycle.engine.estimate import estimate
    from progcycle.engine.formatting import duration

    *sizes, last = draft.resolution.halves(SMALLEST)
    for size in [*sizes, last][1:]:
        if found.seconds * (size / draft.resolution) ** 2 > 4 * HOUR:  # far off: not worth the time to measure
            continue
        found_there = estimate(replace(draft, resolution=size).recipe)
        if found_there.seconds <= HOUR or size == last:
            return f"--size {size} takes about {duration(found_there.seconds)}"
    return f"shorten schedule.stable_kimg; {HOUR / found.seconds:.1%} of it fits into an hour"


def next_steps(file: Path, draft: "Draft") -> list[str]:
    """The commands that follow, to be copied."""
    run, recipe = quoted(Path("runs") / file.stem), quoted(file)
    lines = [f"wrote {file}; next:", f"  progcycle train {recipe}"]
    if len(draft.folders) == 1:
        out = quoted(f"{file.stem}_painted")
        return [*lines, f"  progcycle generate {run} --count 64 --out {out} --grid", f"  progcycle evaluate {run}"]
    source = quoted(draft.tests[0] if draft.tests else draft.folders[0])
    out = quoted(f"{file.stem}_translated")
    return [*lines, f"  progcycle translate {run} {source} {out} --direction ab --grid", f"  progcycle evaluate {run}"]


main = guarded(run)
