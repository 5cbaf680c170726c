"""The part of ``progcycle evaluate`` that measures generated pictures against real ones."""

import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle.commands.cli import say
from progcycle.errors import UserError

if TYPE_CHECKING:
    from progcycle.export import Generator

FULL_COUNT, FULL_PAIRS = 16384, 10000  # of the paper's protocol
LATENTS_OF_PAIRS = 1_000_003  # added to the seed: pairs show other pictures than those of the distance


def evaluate_generator(
    model: "Generator",
    snapshot: Path,
    out: Path,
    *,
    metrics: Sequence[str] | None,
    count: int | None,
    pairs: int | None,
    seed: int,
    batch_size: int,
    data: Sequence[str] | None,
    device: str,
) -> None:
    """Print a table of the metrics asked for, with rows of real pictures to compare with, and write it as JSON.

    Args:
        model: a trained generator.
        snapshot: where it comes from.
        out: the JSON file.
        metrics: names of ``METRICS``; default: swd and ms-ssim.
        count: pictures of each set; default: 16,384, or half of the real ones if these are fewer.
        pairs: pairs of ms-ssim; default: 10,000, or half as many as there are real pictures.
        seed: of latents and of the metrics' own choices.
        batch_size: pictures painted at a time.
        data: folders or zip files of real pictures, instead of those of the recipe.
        device: where to paint and compute.

    Raises:
        UserError: a metric cannot be computed, or there are too few real pictures.
    """
    from progcycle.commands.metrics import check_metrics, training_set

    names = list(dict.fromkeys(metrics or ("swd", "ms-ssim")))
    check_metrics(names, model.resolution, model.recipe.data.channels, "--metrics")  # type: ignore[union-attr]
    pictures, growth = training_set(model, data)
    real = len(pictures)
    count = count or min(FULL_COUNT, real // 2)
    pairs = pairs or min(FULL_PAIRS, real // 2)
    if "swd" in names and (count > real or count < 2):
        raise UserError(f"--count: {count} pictures of each set are asked for, but there are {real} real ones.")
    if "ms-ssim" in names and 2 * pairs > real:
        raise UserError(f"--pairs: {pairs} pairs need {2 * pairs} real pictures, but there are {real}.")
    begun, results = time.perf_counter(), dict[str, Any]()
    for name in names:
        results[name] = _PARTS[name](model, pictures, growth, count, pairs, seed, batch_size, device)
    record = {
        "snapshot": str(snapshot),
        "nimg": model.config.nimg,
        "resolution": model.resolution,
        "alpha": model.config.alpha,
        "real_pictures": real,
        "paths": list(pictures.paths),
        "mirror": pictures.options.mirror,
        "classes": "in turn" if model.classes else None,
        "seed": seed,
        "device": device,
        "seconds": round(time.perf_counter() - begun, 1),
        "results": results,
        "versions": _versions(),
    }
    from progcycle.files import atomic_file

    with atomic_file(out) as path:
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    say(f"wrote {out}")


def _distance(
    model: "Generator", pictures: Any, growth: Any, count: int, pairs: int, seed: int, batch_size: int, device: str
) -> dict[str, Any]:
    from progcycle.commands.metrics import painted_source, real_source, swd_figures
    from progcycle.metrics import sliced_wasserstein

    others = [painted_source(model, seed, count, batch_size)]
    if 2 * count <= len(pictures):
        others.append(real_source(pictures, growth, start=count))
    found = sliced_wasserstein(
        real_source(pictures, growth),
        others,
        count=count,
        resolution=model.resolution,
        seed=seed,
        device=device,
        progress=True,
    )
    labels = ("generated", "real (floor)")
    say(f"sliced Wasserstein distance x 1000 from {count} real pictures, by pixels of the pyramid's level")
    say(f"{'':14}{'average':>9}" + "".join(f"{side:>9}" for side in found[0]))
    for label, levels in zip(labels, found, strict=False):
        average = sum(levels.values()) / len(levels)
        say(f"{label:14}{average:9.2f}" + "".join(f"{value:9.2f}" for value in levels.values()))
    if len(found) == 1:
        say(f"no floor: it compares two halves, and {len(pictures)} real pictures have none of {count}")
    return {
        "count": count,
        "patches_a_picture": 128,
        "patch": "7x7x3",
        "directions": 512,
        "repeats": 4,
        "generated": swd_figures(found[0]),
        "floor": swd_figures(found[1]) if len(found) > 1 else None,
    }


def _similarity(
    model: "Generator", pictures: Any, growth: Any, count: int, pairs: int, seed: int, batch_size: int, device: str
) -> dict[str, Any]:
    from progcycle.commands.metrics import painted_source, real_source
    from progcycle.metrics import pair_similarities

    sources = {
        "generated": painted_source(model, seed + LATENTS_OF_PAIRS, 2 * pairs, batch_size),
        "real": real_source(pictures, growth),
    }
    say(f"MS-SSIM of {pairs} random pairs (higher: more alike)")
    result: dict[str, Any] = {"pairs": pairs}
    for label, source in sources.items():
        result[label] = float(pair_similarities(source, pairs, model.resolution, device).mean())
        say(f"{label:14}{result[label]:9.4f}")
    return result


def _modes(
    model: "Generator", pictures: Any, growth: Any, count: int, pairs: int, seed: int, batch_size: int, device: str
) -> dict[str, Any]:
    from progcycle.commands.metrics import Ask, modes, painted_source, real_source
    from progcycle.metrics.digits import digit_judge, digit_split

    shown = 25600
    accuracy = digit_judge().accuracy(*digit_split("train"))
    say(f"modes of stacked digits in {shown} pictures; the judge reads {100 * accuracy:.1f} % of digits rightly")
    say(f"{'':14}{'modes':>9}{'KL':>9}{'KL found':>9}")
    result: dict[str, Any] = {"judge_accuracy": accuracy}
    sources = {"generated": (painted_source(model, seed, shown, batch_size), shown)}
    sources["real"] = (real_source(pictures, growth), min(shown, len(pictures)))
    for label, (source, of) in sources.items():
        figures = modes(Ask(source, source, of, model.resolution, seed, device))
        result[label] = {"pictures": of, **figures}
        say(f"{label:14}{figures['modes']:9.0f}{figures['kl']:9.3f}{figures['kl_found']:9.3f}")
    return result


_PARTS = {"swd": _distance, "ms-ssim": _similarity, "modes": _modes}


def _versions() -> dict[str, str]:
    import numpy
    import torch

    from progcycle import __version__

    return {
        "progcycle": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }
