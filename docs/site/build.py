"""Build the documentation site into build/site: ``make site`` calls this. Nothing is asked of the internet.

    python docs/site/build.py

The pages are gathered in build/site-source as they lie in the repository, so that links between them hold there and
here. The reference of recipes, that of commands, the API and the gallery are written beside them. Any warning fails.
The page that ``make page`` wrote is put into the site, where it is.
"""

import argparse
import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from recipe_reference import pages, render  # noqa: E402

PLACES = ("*.md", "LICENSE", "docs/*.md", "docs/*.ipynb", "docs/studies/*.md", "docs/**/*.svg", "docs/**/*.png",
          "docs/**/*.jpg", "recipes/*", "datasets/*.md", "datasets/*/*.md", "datasets/*/*.csv",
          "datasets/*/*.[Tt][Xx][Tt]", "datasets/*/preview.png")  # fmt: skip
DEMO = ROOT / "build" / "page"  # of make page, if it is there
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
# What each part of the site lists; pages that stand in none of them are listed in the last.
PARTS = {
    "Start": ["README.md", "docs/running", "docs/preparing", "datasets/README", "docs/coming-from", "docs/gallery"],
    "Translators": ["docs/translation", "docs/training-options"],
    "Generators": ["docs/pggan", "docs/began", "docs/dcgan_wgan", "docs/lapgan", "docs/autoencoders", "docs/systems"],
    "Use": [
        "docs/page",
        "docs/pictures-over-time",
        "docs/pictures",
        "docs/metrics",
        "docs/export",
        "docs/importing",
        "docs/hub",
    ],
    "Long runs": ["docs/resuming", "docs/determinism", "docs/speed", "examples/slurm/README"],
    "Reference": ["recipes/README", "reference/recipes", "reference/commands", "reference/api"],
    "What was measured": [
        "docs/results",
        "docs/translators",
        "docs/growth-study",
        "docs/growth-study-appendix",
        "docs/studies/README",
    ],
    "The project": ["CHANGELOG", "CONTRIBUTING"],
}

WELCOME = """GANs that grow: a PG-GAN, and a CycleGAN whose translators grow as it does, trained from YAML recipes with
Accelerate.

[Install it and train the first model](README.md) ·
[every key of a recipe](reference/recipes.md) ·
[every command](reference/commands.md) ·
[from Python](reference/api.md) ·
[gallery](docs/gallery.md)"""


def main() -> int:
    """Gather, write what is generated, and let Sphinx build."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", metavar="FOLDER", help="of the site")
    args = parser.parse_args()
    source = args.out.with_name(args.out.name + "-source")
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(args.out, ignore_errors=True)
    gather(source)
    write_reference(source)
    (source / "docs" / "gallery.md").write_text(gallery(source), "utf-8")
    (source / "index.md").write_text(index(source), "utf-8")

    from sphinx.cmd.build import main as sphinx

    quiet = ["-q", "-W", "--keep-going", "-E", "-d", str(source / ".doctrees"), "-c", str(HERE)]
    code = sphinx([*quiet, "-b", "html", str(source), str(args.out)])
    if not code and DEMO.is_dir():
        shutil.copytree(DEMO, args.out / "demo")
    if not code:
        print(f"wrote {args.out / 'index.html'}")
    return code


def gather(target: Path) -> None:
    """Copy the pages, and what they show and link to."""
    for place in (*PLACES, "examples/**/*"):
        for path in ROOT.glob(place):
            if path.is_file():
                copy = target / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


def write_reference(target: Path) -> None:
    """The reference of recipes, a page for each task and one of networks; that of commands; the API."""
    from progcycle.recipe import json_schema

    folder = target / "reference"
    folder.mkdir(parents=True)
    found = pages(json_schema())
    for page in found:
        (folder / f"recipe-{page.name}.md").write_text(render(page), "utf-8")
    names = "\n".join(f"recipe-{page.name}" for page in found)
    (folder / "recipes.md").write_text(
        "# Keys of recipes\n\nEvery key, with the values that it takes, its default and its meaning. A dot leads into "
        "a section, `[]` into a list; on the command line a key is set by its path: `schedule.fade_kimg=10`. Without a "
        "default a key is a section, or follows from other keys. "
        "[The guide](../recipes/README.md) explains how keys work together.\n\n"
        f"```{{toctree}}\n{names}\n```\n",
        "utf-8",
    )
    (folder / "commands.md").write_text(commands(), "utf-8")
    (folder / "api.md").write_text(api(), "utf-8")


def commands() -> str:
    """What ``--help`` of every command says."""
    from progcycle.commands.cli import COMMANDS

    os.environ["COLUMNS"] = "110"
    lines = ["# Commands", ""]
    for name, words in COMMANDS.items():
        lines += [f"## {name}", "", f"{words[0].upper()}{words[1:]}.", "", "```text", _help(name), "```", ""]
    return "\n".join(lines)


def _help(name: str) -> str:
    from progcycle.commands.cli import main as command

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        command([name, "--help"])
    text = said.getvalue().strip()
    assert text.startswith("usage:"), f"progcycle {name} --help says nothing"
    return text


def api() -> str:
    """Every public name of the package, by autodoc."""
    import inspect

    import progcycle

    parts: dict[str, list[str]] = {"Functions": [], "Classes": []}
    for name in progcycle.__all__:
        thing = getattr(progcycle, name)
        if inspect.isclass(thing):
            options = "" if name == "Recipe" else "   :members:\n   :inherited-members: Module, BaseModel\n"
            parts["Classes"].append(f"```{{eval-rst}}\n.. autoclass:: progcycle.{name}\n{options}```\n")
        elif callable(thing):
            parts["Functions"].append(f"```{{eval-rst}}\n.. autofunction:: progcycle.{name}\n```\n")
    body = "\n".join(f"## {title}\n\n" + "\n".join(blocks) for title, blocks in parts.items())
    return f"# Python\n\n{progcycle.__doc__.replace('``', '`') if progcycle.__doc__ else ''}\n{body}"


def gallery(source: Path) -> str:
    """All pictures of the documents, below the titles of the pages that explain them."""
    lines = ["# Gallery", "", "The pictures of all pages. Each links to the page that says how it was made.", ""]
    for page in _documents(source):
        text = page.read_text("utf-8")
        found = {match[2]: match[1] for match in IMAGE.finditer(text) if "://" not in match[2]}
        if found and page.parent.parent.name != "datasets":
            title = next(iter(re.findall(r"^# (.+)$", text, re.MULTILINE)), page.stem)
            lines += [f"## {title}", ""]
            for link, words in found.items():
                picture = os.path.relpath(page.parent / link, source / "docs")
                lines += [f"[![{words}]({picture})]({os.path.relpath(page, source / 'docs')})", "", f"*{words}*", ""]
    return "\n".join(lines)


def _documents(source: Path) -> Iterator[Path]:
    """Pages of the repository in the order of the site, the rest after them."""
    ordered = [source / f"{name.removesuffix('.md')}.md" for names in PARTS.values() for name in names]
    rest = sorted(path for path in source.rglob("*.md") if path not in ordered)
    yield from (path for path in [*ordered, *rest] if path.exists() and "reference" not in path.parts)


def index(source: Path) -> str:
    """The first page: what the package is, and where everything stands."""
    listed = {name.removesuffix(".md") for names in PARTS.values() for name in names}
    inner = {"index", *(str(path.relative_to(source).with_suffix("")) for path in source.glob("reference/recipe-*.md"))}
    here = {str(path.relative_to(source).with_suffix("")) for path in source.rglob("*.md")}
    parts = {title: [name.removesuffix(".md") for name in names] for title, names in PARTS.items()}
    rest = sorted(here - listed - inner)
    parts["Use"] += [name for name in rest if name.startswith("docs/")]
    parts["Data sets"] = [name for name in rest if not name.startswith("docs/")]
    live = "<a href='demo/index.html'>Try the demo's translator here</a>: it runs in the browser."
    lines = ["# progcycle", "", WELCOME, "", *([live, ""] if DEMO.is_dir() else [])]
    for title, names in parts.items():
        present = ["Overview <README>" if name == "README" else name for name in names if name in here]
        lines += ["```{toctree}", f":caption: {title}", ":maxdepth: 1", "", *present, "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
