"""``progcycle recipes``: list the bundled recipes, print one, or copy it to a file."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import guarded, parser
from progcycle.commands.new import quoted
from progcycle.errors import UserError
from progcycle.files import atomic_file
from progcycle.output import say

DESCRIPTION = """List the bundled recipes, print one, or copy it to a file of yours.

progcycle train accepts these names in place of a file, and so does the key extends in a recipe of yours."""
EXAMPLES = """examples:
  progcycle recipes
  progcycle recipes cyclegan_photos_64
  progcycle recipes cyclegan_photos_64 --copy mine.yaml
  progcycle train cyclegan_photos_64 data.root=my_pictures"""
WIDTH = 100  # columns of the table


def run(argv: Sequence[str] | None = None) -> int:
    """Print the table, or one recipe as it is written."""
    p = parser("recipes", DESCRIPTION, EXAMPLES)
    p.add_argument("name", nargs="?", metavar="NAME", help="print this recipe instead of the list")
    p.add_argument("--copy", type=Path, metavar="FILE", help="write it to this file, or into this folder")
    p.add_argument("--force", action="store_true", help="overwrite FILE if it exists")
    args = p.parse_args(argv)
    if args.name is None and (args.copy is not None or args.force):
        raise UserError(f"{'--copy' if args.copy is not None else '--force'} needs the NAME of a recipe to copy.")
    if args.force and args.copy is None:
        raise UserError("--force is for --copy FILE; give both, or none.")

    from progcycle.recipe import RECIPES, find_recipe, shipped_folder, shipped_recipes
    from progcycle.recipe.text import read_text

    if args.name is not None:
        text = read_text(file := find_recipe(args.name))
        if args.copy is None:
            say(text.rstrip("\n"))
            return 0
        copy = args.copy / file.name if args.copy.is_dir() else args.copy
        _write(copy, text, args.force)
        say(f"wrote {copy}; next:\n  progcycle train {quoted(copy)}")
        return 0
    files = shipped_recipes()
    widths = max(map(len, files), default=0), max(map(len, RECIPES))
    say(f"{'name':{widths[0]}}  {'task':{widths[1]}}  {'px':>4}  purpose")
    for name, path in files.items():
        say(_row(name, path, *widths))
    say(f"\n{len(files)} recipes; progcycle recipes NAME prints one, progcycle train NAME trains it. They are in")
    say(str(shipped_folder()))
    return 0


def _write(copy: Path, text: str, force: bool) -> None:
    """Write a recipe to a file; editors find the schema, and what it extends stays the bundled recipe."""
    from progcycle.recipe import shipped_folder

    if copy.suffix not in (".yaml", ".yml"):
        raise UserError(f"{copy}: give --copy a name that ends in .yaml, or a folder.")
    if copy.is_dir():
        raise UserError(f"{copy} is a folder; give --copy another name.")
    if copy.exists() and not force:
        raise UserError(f"{copy} already exists; give --copy another name, or add --force to overwrite it.")
    text = text.replace("$schema=schema.json", f"$schema={shipped_folder().resolve() / 'schema.json'}", 1)
    text = re.sub(r"^(extends: *[\w-]+)\.yaml\b", r"\1", text, flags=re.MULTILINE)  # never a file beside the copy
    with atomic_file(copy) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _row(name: str, path: Path, width: int, task: int) -> str:
    """A row of the table, in as many lines as it needs."""
    from progcycle.recipe import load_recipe

    recipe = load_recipe(path)
    lead = f"{name:{width}}  {recipe.task:{task}}  {recipe.resolution:4}  "
    return textwrap.fill(about(path), WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead))


def about(path: Path) -> str:
    """The first sentence of a recipe's first comment, which is its purpose."""
    from progcycle.recipe.text import read_text

    lines = read_text(path).splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    words = " ".join(line for line in comments if not line.startswith("yaml-language-server"))
    return re.split(r"\.\s+(?=[A-Z])", words, maxsplit=1)[0].rstrip(".")


main = guarded(run)
