"""``progcycle evaluate RUN``: measure generated pictures, or compare translations with their true pairs."""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from progcycle.commands.cli import add_device, guarded, natural, parser, pick_device, positive, say, versions
from progcycle.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.data import PictureSet
    from progcycle.export import Translator
    from progcycle.export.models import Direction
    from progcycle.recipe import CycleganRecipe

DESCRIPTION = """Measure a trained model.

PG-GAN: the sliced Wasserstein distance between generated and training pictures, beside that between two halves of the
training pictures; MS-SSIM of random pairs; on request, the modes of stacked digits that were found. All at the
resolution that training stands at. docs/metrics.md tells what they mean.

CycleGAN: translations are compared with the true pictures, where test pictures pair up by name, at the resolution that
training stands at and in both directions: L1 (mean absolute difference of pictures in [-1, 1]), PSNR and SSIM, beside
those of doing nothing. The test folders are those of the run's recipe."""
EXAMPLES = """examples:
  progcycle evaluate runs/openmoji
  progcycle evaluate runs/pggan_celebahq --metrics swd,ms-ssim --count 16384
  progcycle evaluate runs/openmoji/snapshots/nimg-000000600000 --a data/testA --b data/testB"""
DIRECTIONS: tuple[tuple["Direction", str, str], ...] = (("ab", "a", "b"), ("ba", "b", "a"))


def run(argv: Sequence[str] | None = None) -> int:
    """Print the table and write it as JSON."""
    p = parser("evaluate", DESCRIPTION, EXAMPLES)
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder (its newest snapshot is used), or a snapshot")
    p.add_argument("--a", metavar="FOLDER", help="test pictures of A, instead of those of the recipe")
    p.add_argument("--b", metavar="FOLDER", help="test pictures of B, instead of those of the recipe")
    p.add_argument("--metrics", metavar="NAMES", help="PG-GAN: of swd, ms-ssim and modes (default swd,ms-ssim)")
    p.add_argument(
        "--count",
        type=positive,
        help="PG-GAN: pictures of each set (default 16384, or half of the real ones if fewer; for modes 25600)",
    )
    p.add_argument(
        "--pairs", type=positive, help="PG-GAN: pairs of ms-ssim (default 10000, or half of the real pictures if fewer)"
    )
    p.add_argument("--data", nargs="+", metavar="PATH", help="PG-GAN: real pictures, instead of those of the recipe")
    p.add_argument(
        "--digits", metavar="PATH", help="PG-GAN: single digits in folders 0 to 9, which the judge of modes learns from"
    )
    p.add_argument(
        "--memory",
        type=gigabytes,
        default=4.0,
        metavar="GB",
        help="PG-GAN: what swd may use; more is faster (default 4)",
    )
    p.add_argument("--seed", type=natural, default=0, help="PG-GAN: of latents and of random choices (default 0)")
    p.add_argument("--out", type=Path, metavar="FILE.json", help="default: a file below evaluation in the run folder")
    p.add_argument("--batch-size", type=positive, default=16, help="pictures at a time (default 16)")
    add_device(p)
    args = p.parse_intermixed_args(argv)

    from progcycle.commands.evaluate_generator import Question, evaluate_generator
    from progcycle.export import Translator, find_snapshot, load
    from progcycle.files import atomic_file

    snapshot, device = find_snapshot(args.run), pick_device(args.device)
    model, folder = load(snapshot, device), _run_folder(snapshot)
    if not isinstance(model, Translator):
        if args.a or args.b:
            raise UserError(f"{args.run} holds a PG-GAN, which has no domains; --data names other real pictures.")
        ask = Question(
            metrics=[name.strip() for name in args.metrics.split(",")] if args.metrics else None,
            count=args.count,
            pairs=args.pairs,
            seed=args.seed,
            batch_size=args.batch_size,
            memory_gb=args.memory,
            data=args.data,
            digits=args.digits,
            device=device,
        )
        out = args.out or folder / "evaluation" / f"nimg-{model.config.nimg:012d}.json"
        evaluate_generator(model, snapshot, folder, out, ask)
        return 0
    if args.metrics or args.count or args.pairs or args.data or args.digits:
        raise UserError(
            "--metrics, --count, --pairs, --data and --digits are for PG-GANs; this run holds translators, whose test "
            "pictures --a and --b name."
        )
    sets = _test_sets(model.recipe, args.a, args.b)  # type: ignore[arg-type]  # a Translator's recipe is a CycleGAN's
    pairs = pair_up(sets["a"].names, sets["b"].names)
    results = _score(model, sets, pairs, args.batch_size)

    say(f"{len(pairs)} pairs of {len(sets['a'])} and {len(sets['b'])} test pictures, {model.resolution} px, {snapshot}")
    say(f"{'':24}{'L1':>9}{'PSNR':>9}{'SSIM':>9}")
    for direction, source, target in DIRECTIONS:
        for what in ("translated", "unchanged"):
            row = results[direction][what]
            label = f"{source.upper()} to {target.upper()} {what}"
            say(f"{label:24}{row['l1']:9.4f}{row['psnr']:9.2f}{row['ssim']:9.4f}")
    out = args.out or folder / "evaluation" / "paired.json"
    with atomic_file(out) as path:
        path.write_text(json.dumps(_record(model, snapshot, sets, len(pairs), results), indent=2) + "\n")
    say(f"wrote {out}")
    return 0


def gigabytes(text: str) -> float:
    """A positive number, for argparse."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number


def pair_up(names_a: Sequence[str], names_b: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of pictures whose names (without the ending, with sub-folders) are equal, in name order.

    Raises:
        UserError: no names are equal, or one stands twice in a domain.
    """
    indices: list[dict[str, int]] = []
    for domain, names in (("A", names_a), ("B", names_b)):
        stems: dict[str, int] = {}
        for i, name in enumerate(names):
            stem = str(PurePosixPath(name).with_suffix(""))
            if stem in stems:
                raise UserError(f"Domain {domain}: {names[stems[stem]]} and {name} have one name; pairs need two.")
            stems[stem] = i
        indices.append(stems)
    pairs = [(indices[0][stem], indices[1][stem]) for stem in sorted(indices[0].keys() & indices[1].keys())]
    if not pairs:
        raise UserError(
            f"The test pictures do not pair up: no name of the {len(names_a)} of A (such as {names_a[0]}) is among the "
            f"{len(names_b)} of B (such as {names_b[0]})."
        )
    return pairs


def _test_sets(recipe: "CycleganRecipe", a: str | None, b: str | None) -> dict[str, "PictureSet"]:
    from progcycle.data import resolve_test_sets

    data = recipe.data.model_copy(update={"cache_resolution": 0})
    for domain, folder in (("a", a), ("b", b)):
        if folder is not None:
            options = getattr(data, domain).model_copy(update={"test_path": (folder,)})
            data = data.model_copy(update={domain: options})
    if a is not None and b is not None:
        data = data.model_copy(update={"root": None})  # the training data need not be here
    sets = resolve_test_sets(data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=Path())
    for domain in ("a", "b"):
        if domain not in sets:
            raise UserError(f"The recipe has no test pictures of {domain.upper()}; give a folder with --{domain}.")
    return sets


def _score(
    model: "Translator", sets: dict[str, "PictureSet"], pairs: list[tuple[int, int]], batch_size: int
) -> dict[str, dict[str, dict[str, float]]]:
    from tqdm import tqdm

    from progcycle.export.pictures import as_channels
    from progcycle.metrics import PairedScores, join, paired_scores

    parts: dict[tuple[str, str], list[PairedScores]] = {}
    for start in tqdm(range(0, len(pairs), batch_size), unit="batch", disable=None, leave=False):
        chunk = pairs[start : start + batch_size]
        x = {domain: _batch(sets[domain], [pair[i] for pair in chunk], model) for i, domain in enumerate("ab")}
        for direction, source, target in DIRECTIONS:
            translated = model.translate(x[source], direction, "native")
            unchanged = as_channels(x[source], x[target].shape[1])
            for what, pictures in (("translated", translated), ("unchanged", unchanged)):
                parts.setdefault((direction, what), []).append(paired_scores(pictures, x[target]))
    return {
        direction: {what: join(parts[direction, what]).means() for what in ("translated", "unchanged")}
        for direction, _, _ in DIRECTIONS
    }


def _batch(pictures: "PictureSet", indices: list[int], model: "Translator") -> "Tensor":
    import torch

    from progcycle.export.pictures import from_uint8

    samples = [pictures.plain(i, model.resolution) for i in indices]
    for sample in samples:
        if sample.broken:  # another picture stands in its place, which is not the pair
            raise UserError(f"{sample.broken[0].rstrip('.')}; repair or remove it, a pair needs both.")
    return torch.cat([from_uint8(sample.image) for sample in samples])


def _run_folder(snapshot: Path) -> Path:
    if snapshot.name == "best":  # which a better one may replace
        return snapshot.parent
    return snapshot.parent.parent if snapshot.parent.name == "snapshots" else snapshot


def _record(
    model: "Translator", snapshot: Path, sets: dict[str, "PictureSet"], pairs: int, results: dict[str, Any]
) -> dict[str, Any]:
    config = model.config
    return {
        "snapshot": str(snapshot),
        "nimg": config.nimg,
        "resolution": config.resolution,
        "stage": config.stage,
        "alpha": config.alpha,
        "pairs": pairs,
        "pictures": {domain: len(pictures) for domain, pictures in sets.items()},
        "paths": {domain: list(pictures.paths) for domain, pictures in sets.items()},
        "results": results,
        "versions": versions("kornia"),
    }


main = guarded(run)
