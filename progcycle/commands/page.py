"""``progcycle page RUN --out FOLDER``: a folder that shows a model in a browser, without a server."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import add_run, guarded, natural, parser, positive
from progcycle.output import say

DESCRIPTION = """Write a static page that runs a trained model in the browser: index.html, and what it needs beside it.

Open index.html, put the folder on any host of static files, or send it as a zip file. Nothing is downloaded, and no
picture leaves the browser. The page of translators takes pictures by dropping, choosing, pasting or drawing, and shows
both directions, before and after, the way there and back with its error, and the run's snapshots or stages. The page
of a generator shows pictures by number and walks through its latents. Needs pip install 'progcycle[export]'."""
EXAMPLES = """examples:
  progcycle page runs/openmoji --out site
  progcycle page runs/openmoji --out site --names drawing coloured --title "Emoji, coloured"
  progcycle page runs/pggan_celebahq --out site --over stages --fp16"""


def add_page(p: argparse.ArgumentParser) -> None:
    """The options that the page has with and without a server."""
    p.add_argument("--title", metavar="TEXT", help="heading of the page (default: the name of the run)")
    p.add_argument("--names", nargs=2, default=("A", "B"), metavar=("A", "B"), help="what people read for A and B")
    p.add_argument(
        "--over",
        choices=("snapshots", "stages"),
        default="snapshots",
        help="what the slider moves over: snapshots of the run (default), or stages of the newest one",
    )
    p.add_argument(
        "--examples",
        type=natural,
        default=8,
        metavar="N",
        help="test pictures of each domain that the page shows (default 8; 0 for none)",
    )


def run(argv: Sequence[str] | None = None) -> int:
    """Write the page, and say how large it is and how far its models are from the run's."""
    p = parser("page", DESCRIPTION, EXAMPLES)
    add_run(p)
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write; new, or empty")
    add_page(p)
    p.add_argument(
        "--count",
        type=positive,
        metavar="N",
        help="snapshots or stages at most, evenly spread (default: up to 6 as far as all their weights take less than "
        "16 MB, else the newest alone)",
    )
    p.add_argument("--fp16", action="store_true", help="weights of convolutions in float16: half the size")
    p.add_argument("--license", metavar="TEXT", help="of the weights (default: what the stores of training say)")
    p.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    args = p.parse_intermixed_args(argv)

    from progcycle.web import write_page

    page = write_page(
        args.run,
        args.out,
        over=args.over,
        count=args.count,
        examples=args.examples,
        title=args.title,
        names=tuple(args.names),
        half=args.fp16,
        licence=args.license,
        overwrite=args.overwrite,
        on_moment=lambda done, of: say(f"exported {done} of {of} {args.over}") if of > 1 else None,
    )
    several = f", {page.moments} {args.over}" if page.moments > 1 else ""
    say(
        f"wrote {page.folder} ({page.bytes / 1e6:.1f} MB{several}; its models differ from the run's by "
        f"{page.difference:.2g} grey levels at most): open {page.index}"
    )
    return 0


main = guarded(run)
