"""``progcycle evaluate RUN``: measure generated pictures, or compare translations with their true pairs."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from progcycle.commands.cli import (
    add_device,
    add_run,
    guarded,
    natural,
    parser,
    pick_device,
    positive,
    refuse_others,
    resolution,
)
from progcycle.errors import UserError
from progcycle.output import say, warn

DESCRIPTION = """Measure a trained model.

PG-GAN: sliced Wasserstein distance and KID between generated and training pictures, next to the same between two halves
of the training pictures; MS-SSIM of random pairs; on request, precision and recall, and how many modes of stacked
digits were found. All are measured at the current resolution of the run.

CycleGAN: translations of the test pictures in both directions, next to the unchanged pictures and to pictures with
matched colours. Measured are distances to the real pictures of the other domain (KID, sliced Wasserstein), to the true
partner where equal names mark pairs, and to the source; the colours of the set, and the lines that are kept; the cycle
there and back; and whether colours are inverted. A page shows all pictures, the worst first. The test folders are those
of the run's recipe.

Autoencoder: how far restored pictures are from the real ones (L1, L2, PSNR, SSIM), for test pictures or those held out,
and for training pictures. docs/metrics.md explains every figure."""
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
    add_run(p)
    p.add_argument("--a", metavar="FOLDER", help="test pictures of A, instead of those of the recipe")
    p.add_argument("--b", metavar="FOLDER", help="test pictures of B, instead of those of the recipe")
    named = p.add_mutually_exclusive_group()
    named.add_argument("--paired", action="store_true", help="CycleGAN: test pictures with equal names are true pairs")
    named.add_argument(
        "--unpaired", action="store_true", help="CycleGAN: they are not (default: as data.paired in the recipe)"
    )
    p.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help="PG-GAN: swd, ms-ssim, modes, palette, two-sample, kid, kid-resnet, precision-recall, fid, is (default: "
        "swd, ms-ssim and kid); CycleGAN: swd, kid, kid-resnet, two-sample, fid, is (default: swd and kid), in "
        "addition to the figures that are always measured; with --inception the defaults include fid and is; if a "
        "discriminator has seen the features of kid they include kid-resnet; two-sample trains classifiers (some 20 s "
        "a set and core at 64 px)",
    )
    p.add_argument(
        "--inception",
        metavar="FILE",
        help="weights of the Inception network, whose features fid and is need, and kid then uses instead of "
        f"EfficientNet-lite0's: {WHERE}",
    )
    p.add_argument(
        "--resolution",
        type=resolution,
        metavar="R",
        help="CycleGAN: also compare true pairs at this resolution (a side, of a rectangle the shorter one, or height "
        "and width as in 512x768), for every --scale of progcycle translate",
    )
    p.add_argument("--no-page", action="store_true", help="CycleGAN: leave out the HTML page of all pictures")
    p.add_argument(
        "--count",
        type=positive,
        help="PG-GAN: pictures of each set (default 16384, or half of the real ones if fewer; for modes 25600; for kid "
        "as many as there are real ones, at most 2048, with --inception 50000); autoencoder: at most (default 1000)",
    )
    p.add_argument(
        "--pairs", type=positive, help="PG-GAN: pairs of ms-ssim (default 10000, or half of the real pictures if fewer)"
    )
    p.add_argument("--data", nargs="+", metavar="PATH", help="PG-GAN, autoencoder: other real pictures")
    p.add_argument(
        "--digits",
        metavar="PATH",
        help="PG-GAN: pictures of single digits in folders 0 to 9, to train the classifier that counts modes",
    )
    p.add_argument("--memory", type=gigabytes, metavar="GB", help="memory for swd; more is faster (default 4)")
    p.add_argument("--seed", type=natural, help="seed of latents and of random choices (default 0)")
    p.add_argument(
        "--out", type=Path, metavar="FILE.json", help="file to write (default: in the folder evaluation of the run)"
    )
    p.add_argument("--batch-size", type=positive, help="pictures computed at a time (default 16)")
    add_device(p)
    return p


def run(argv: Sequence[str] | None = None) -> int:
    """Print the table and write it as JSON."""
    args = _parser().parse_intermixed_args(argv)

    from progcycle.evaluation.evaluate_model import EVALUATIONS, evaluate_model
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
    options = {name: value for name, value in given.items() if value is not None}
    if (measured := EVALUATIONS.get(model.task)) is not None:
        names = [*options, *["no_page"] * args.no_page]
        refuse_others(names, [*measured.names, *["no_page"] * measured.page], args.run, model.kind)
    if args.out and args.out.suffix == ".html":
        raise UserError(f"{args.out}: --out names the JSON file; give it a name that ends in .json.")
    found = evaluate_model(model, snapshot, **options, device=device)
    say(found.text)
    for sentence in found.warnings:
        warn(f"warning: {sentence}")
    for path in found.save(args.out, page=not args.no_page):
        say(f"wrote {path}")
    return 0


def gigabytes(text: str) -> float:
    """A positive number, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return number


main = guarded(run)
