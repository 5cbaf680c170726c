"""``progcycle inspect SOURCE``: look at every picture, and say what there is and what is wrong; nothing is written."""

from collections.abc import Sequence

from progcycle.commands.cli import guarded, parser
from progcycle.commands.prepare import add_reading, parts_of, report, scan_parts, sources_of
from progcycle.output import warn

DESCRIPTION = """Look at every picture, and say what there is: counts, sizes, kinds, classes, what cannot be read, and
which pictures occur twice, also in both domains or in training and test. Nothing is written.

SOURCE is what progcycle prepare takes. Of a store, the hashes of all pictures are compared with its index too. The exit
code is 1 if there are pictures that cannot be used."""
EXAMPLES = """examples:
  progcycle inspect photos/
  progcycle inspect horse2zebra.zip
  progcycle inspect july/ january/
  progcycle inspect photos_store"""


def run(argv: Sequence[str] | None = None) -> int:
    """Scan and report."""
    p = parser("inspect", DESCRIPTION, EXAMPLES)
    p.add_argument("sources", nargs="+", metavar="SOURCE", help="pictures; or pictures of A and pictures of B")
    add_reading(p)
    args = p.parse_intermixed_args(argv)
    sources_of(args.sources)

    from progcycle.data.scan import mixed_depths

    parts = parts_of(args, args.sources)
    scan_parts(args, parts, None)
    report(args.sources, parts, None)
    mixed = [sentence for part in parts if (sentence := mixed_depths(part)) is not None]
    for sentence in mixed:
        warn(sentence)
    return 1 if mixed or any(part.offenders for part in parts) else 0


main = guarded(run)
