"""``progcycle evaluate RUN``: measure generated pictures, or compare translations with their true pairs."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle.commands.cli import add_device, guarded, natural, parser, pick_device, positive
from progcycle.errors import UserError
from progcycle.output import say, warn

if TYPE_CHECKING:
    from progcycle.export import SnapshotModel

DESCRIPTION = """Measure a trained model.

PG-GAN: sliced Wasserstein distance and KID between generated and training pictures, next to the same between two halves
of the training pictures; MS-SSIM of random pairs; on request, how many modes of stacked digits were found. All are
measured at the current resolution of the run.

CycleGAN: translations of the test pictures in both directions, next to doing nothing and to matching colours. Measured
are distances to the real pictures of the other domain (KID, sliced Wasserstein), to the true partner where names pair
up, and to the source; the cycle there and back; and whether colours are inverted. A page shows all pictures, the worst
first. The test folders are those of the run's recipe. docs/metrics.md explains every figure."""
WHERE = "weights-inception-2015-12-05-6726825d.pth, 95 MB, from https://github.com/toshas/torch-fidelity/releases"
EXAMPLES = """examples:
  progcycle evaluate runs/openmoji
  progcycle evaluate runs/openmoji --resolution 64
  progcycle evaluate runs/horse2zebra --unpaired
  progcycle evaluate runs/pggan_celebahq --metrics swd ms-ssim --count 16384
  progcycle evaluate runs/pggan_celebahq --metrics fid kid is --inception weights-inception-2015-12-05-6726825d.pth
  progcycle evaluate runs/openmoji/snapshots/nimg-000000600000 --a data/testA --b data/testB"""


def _parser() -> argparse.ArgumentParser:
    p = parser("evaluate", DESCRIPTION, EXAMPLES)
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder (its newest snapshot is used), or a snapshot")
    p.add_argument("--a", metavar="FOLDER", help="test pictures of A, instead of those of the recipe")
    p.add_argument("--b", metavar="FOLDER", help="test pictures of B, instead of those of the recipe")
    named = p.add_mutually_exclusive_group()
    named.add_argument("--paired", action="store_true", help="CycleGAN: test pictures of one name are a true pair")
    named.add_argument("--unpaired", action="store_true", help="CycleGAN: they are not (default: data.paired)")
    p.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help="PG-GAN: of swd, ms-ssim, modes, kid, fid and is (default: swd, ms-ssim and kid); CycleGAN: of swd, kid, "
        "fid and is (default: swd and kid), beside figures that are always there; with --inception fid and is too",
    )
    p.add_argument(
        "--inception",
        metavar="FILE",
        help=f"features of the Inception network, which fid and is need, instead of EfficientNet-lite0's: {WHERE}",
    )
    p.add_argument(
        "--resolution",
        type=positive,
        metavar="PX",
        help="CycleGAN: also compare true pairs at this many pixels a side, for every --scale of progcycle translate",
    )
    p.add_argument("--no-page", action="store_true", help="CycleGAN: leave out the HTML page of all pictures")
    p.add_argument(
        "--count",
        type=positive,
        help="PG-GAN: pictures of each set (default 16384, or half of the real ones if fewer; for modes 25600; for kid "
        "as many as there are real ones, at most 2048, with --inception 50000)",
    )
    p.add_argument(
        "--pairs", type=positive, help="PG-GAN: pairs of ms-ssim (default 10000, or half of the real pictures if fewer)"
    )
    p.add_argument("--data", nargs="+", metavar="PATH", help="PG-GAN: real pictures, instead of those of the recipe")
    p.add_argument(
        "--digits", metavar="PATH", help="PG-GAN: single digits in folders 0 to 9, to train the classifier of modes"
    )
    p.add_argument(
        "--memory",
        type=gigabytes,
        metavar="GB",
        help="memory that swd may use; more is faster (default 4)",
    )
    p.add_argument("--seed", type=natural, help="seed of latents and of random choices (default 0)")
    p.add_argument("--out", type=Path, metavar="FILE.json", help="default: a file below evaluation in the run folder")
    p.add_argument("--batch-size", type=positive, help="pictures at a time (default 16)")
    add_device(p)
    return p


def run(argv: Sequence[str] | None = None) -> int:
    """Print the table and write it as JSON."""
    args = _parser().parse_intermixed_args(argv)

    from progcycle.evaluation.evaluate_model import evaluate_model
    from progcycle.export import find_snapshot, load

    snapshot, device = find_snapshot(args.run), pick_device(args.device)
    model = load(snapshot, device)
    metrics = [name for names in args.metrics or () for name in names.replace(",", " ").split()]
    given: dict[str, Any] = {
        "metrics": metrics or None,
        "inception": args.inception,
        "seed": args.seed,
        "batch_size": args.batch_size,
        "memory_gb": args.memory,
        "a": args.a,
        "b": args.b,
        "resolution": args.resolution,
        "paired": True if args.paired else False if args.unpaired else None,
        "count": args.count,
        "pairs": args.pairs,
        "data": args.data,
        "digits": args.digits,
    }
    _refuse_others(args, model)
    options = {name: value for name, value in given.items() if value is not None}
    found = evaluate_model(model, snapshot, **options, device=device)
    say(found.text)
    for sentence in found.warnings:
        warn(f"warning: {sentence}")
    for path in found.save(args.out, page=not args.no_page):
        say(f"wrote {path}")
    return 0


def _refuse_others(args: argparse.Namespace, model: "SnapshotModel") -> None:
    """Refuse options of the other task, with a word about what is meant instead."""
    from progcycle.export import Generator, Translator

    if isinstance(model, Translator):
        if args.count or args.pairs or args.data or args.digits:
            raise UserError(
                "--count, --pairs, --data and --digits are for PG-GANs; this run holds translators, whose test "
                "pictures --a and --b name."
            )
        if args.out and args.out.suffix == ".html":
            raise UserError(
                f"--out names the JSON file, and {args.out} is the name of a page; the page stands beside it."
            )
    if isinstance(model, Generator):
        if args.a or args.b:
            raise UserError(f"{args.run} holds a PG-GAN, which has no domains; --data names other real pictures.")
        if args.paired or args.unpaired or args.no_page or args.resolution:
            raise UserError(
                "--paired, --unpaired, --no-page and --resolution are for translators; this run holds a PG-GAN."
            )


def gigabytes(text: str) -> float:
    """A positive number, for argparse."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number


main = guarded(run)
