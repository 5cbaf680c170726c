"""``progcycle recipes``: list the bundled recipes, or print one."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import guarded, parser
from progcycle.output import say

DESCRIPTION = """List the bundled recipes, or print one.

progcycle train accepts these names in place of a file, and so does the key extends in a recipe of yours."""
EXAMPLES = """examples:
  progcycle recipes
  progcycle recipes cyclegan_photos_64
  progcycle recipes cyclegan_photos_64 > mine.yaml
  progcycle train cyclegan_photos_64 data.root=my_pictures"""
WIDTH = 100  # columns of the table


def run(argv: Sequence[str] | None = None) -> int:
    """Print the table, or one recipe as it is written."""
    p = parser("recipes", DESCRIPTION, EXAMPLES)
    p.add_argument("name", nargs="?", metavar="NAME", help="print this recipe instead of the list")
    args = p.parse_args(argv)

    from progcycle.recipe import RECIPES, find_recipe, shipped_folder, shipped_recipes
    from progcycle.recipe.text import read_text

    if args.name is not None:
        say(read_text(find_recipe(args.name)).rstrip("\n"))
        return 0
    files = shipped_recipes()
    widths = max(map(len, files), default=0), max(map(len, RECIPES))
    say(f"{'name':{widths[0]}}  {'task':{widths[1]}}  {'px':>4}  purpose")
    for name, path in files.items():
        say(_row(name, path, *widths))
    say(f"\n{len(files)} recipes; progcycle recipes NAME prints one, progcycle train NAME trains it. They are in")
    say(str(shipped_folder()))
    return 0


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
