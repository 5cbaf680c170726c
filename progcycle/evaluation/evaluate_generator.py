"""Evaluation of generators: generated pictures are compared with real ones."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from progcycle.errors import UserError
from progcycle.evaluation.digit_modes import choose_digit_classifier, measure_modes
from progcycle.evaluation.feature_distances import (
    OF_GENERATORS,
    PUBLISHED,
    RESNET,
    choose_features,
    choose_resnet,
    features_record,
    measure_in_features,
)
from progcycle.evaluation.generator_metrics import (
    METRICS,
    SMALLEST,
    both_sets,
    check_digit_classifier,
    check_known,
    check_metrics,
    swd_figures,
)
from progcycle.evaluation.generator_samples import GeneratorSamples, samples_from_model
from progcycle.evaluation.generator_table import as_text
from progcycle.evaluation.options import EvaluationOptions
from progcycle.evaluation.provenance import default_path, origin, versions
from progcycle.evaluation.result import Evaluation
from progcycle.evaluation.seen_features import has_seen

if TYPE_CHECKING:
    from progcycle.export import Generator
    from progcycle.metrics import Features
    from progcycle.recipe import Recipe

DEFAULTS = ("swd", "ms-ssim", "kid")
FULL_COUNT, FULL_PAIRS, FULL_MODES = 16384, 10000, 25600  # of the paper's protocols


@dataclass(frozen=True)
class GeneratorOptions(EvaluationOptions):
    """What to measure of a generator, and on how many pictures. Metrics are those of ``METRICS`` and ``OF_GENERATORS``.

    Attributes:
        count: pictures of each set; default: 16,384, or half of the real ones if these are fewer; of modes 25,600; in
            features as many as there are real ones, at most 2,048, or 50,000 with ``inception``; of palette and
            two-sample as many as there are real ones, at most 2,048, and fewer above 105 px, for want of memory.
        pairs: pairs of ms-ssim; default: 10,000, or half as many as there are real pictures if these are fewer.
        data: folders or zip files of real pictures, instead of those of the recipe.
        digits: folder or zip file of single digits by class that the classifier of modes learns from, instead of
            scikit-learn's.
    """

    count: int | None = None
    pairs: int | None = None
    data: Sequence[str] | None = None
    digits: str | None = None


def evaluate_generator(model: "Generator", snapshot: Path, run: Path, options: GeneratorOptions) -> Evaluation:
    """Compare generated pictures with real ones.

    Args:
        model: a trained generator.
        snapshot: where it comes from.
        run: its run folder; caches of pictures next to it are read, and none is written.
        options: what to measure.

    Raises:
        UserError: a metric cannot be computed, or there are too few real pictures.
    """
    recipe = model.recipe
    names, features, resnet, left_out = _available(options, model.resolution, recipe)
    cache = run.absolute().parent / ".cache"
    samples = samples_from_model(
        model, options.seed, options.device, options.batch_size, options.data, cache, progress=True
    )
    sizes = {name: _SIZES[name](options, len(samples.reals)) for name in names if name in _SIZES}
    if "modes" in names:
        classifier, about_classifier = choose_digit_classifier(options.digits, samples.resolution)
        share = check_digit_classifier(classifier, samples.reals, "--metrics")
        about_classifier["accuracy_on_real_pictures"] = share
    networks = [network for network in (features, resnet) if network is not None]
    started, results = time.perf_counter(), dict[str, Any]()
    for name in names:
        if name in results:  # metrics in features are measured together
            continue
        if name == RESNET and resnet is not None:
            results[name] = measure_in_features(samples, ["kid"], resnet, options.count)["kid"]
        elif name == "palette":
            results[name] = _palette(samples, sizes[name])
        elif name == "two-sample":
            results[name] = _two_sample(samples, sizes[name])
        elif name == "swd":
            results[name] = _distances(samples, sizes[name], options.memory_gb)
        elif name == "ms-ssim":
            results[name] = _similarities(samples, sizes[name])
        elif features is not None and name in OF_GENERATORS:
            results |= measure_in_features(samples, [n for n in names if n in OF_GENERATORS], features, options.count)
        else:
            results[name] = {**measure_modes(samples, classifier, sizes[name]), "judge": about_classifier}
    warnings = [f"{sentence.rstrip('.')}; the next picture is used instead." for sentence in samples.reals.broken]
    record = {
        **_origin(model, snapshot, samples, options),
        "seconds": round(time.perf_counter() - started, 1),
        "results": results,
        "left_out": left_out,
        "features": features_record(features),
        "resnet_features": features_record(resnet),
        "seen_by_discriminators": [network.name for network in networks if has_seen(recipe, network.name)],
        "versions": versions("numpy", *(network.protocol["library"] for network in networks)),
    }
    return Evaluation(record, as_text(record), default_path(run, model), [*samples.reals.pictures.remarks, *warnings])


# --- what, and how many ----------------------------------------------------------------------------------------------


def _available(
    options: GeneratorOptions, resolution: int, recipe: "Recipe"
) -> tuple[list[str], "Features | None", "Features | None", list[str]]:
    """Names of the metrics, the networks that they need, and sentences about defaults that are left out."""
    where, left_out, asked = "--metrics", [], bool(options.metrics)
    names = list(dict.fromkeys(options.metrics or (*DEFAULTS, *(PUBLISHED if options.inception else ()))))
    known = dict.fromkeys((*METRICS, *OF_GENERATORS, RESNET))
    check_known(names, known, where)
    if not asked:
        for name in [name for name in names if resolution < SMALLEST.get(name, 0)]:
            names.remove(name)
            left_out.append(f"{name} is left out: it starts at {SMALLEST[name]} px, and these are {resolution} px.")
    in_pixels = [name for name in names if name in METRICS and name not in OF_GENERATORS]
    domain = recipe.data.domains["real"]
    check_metrics(in_pixels, resolution, domain.channels, where)
    features, why = choose_features(names, asked, options.inception, options.device)
    if why:
        names = [name for name in names if name not in OF_GENERATORS]
        left_out.append(f"kid is left out: {why}")
    resnet, why = choose_resnet(names, asked, has_seen(recipe, features.name if features else None), options.device)
    if why:
        left_out.append(f"{RESNET} is left out: {why}")
    elif resnet is not None and RESNET not in names:
        names.append(RESNET)
    return names, features, resnet, left_out


def _count(options: GeneratorOptions, real: int) -> int:
    count = options.count or max(min(FULL_COUNT, real // 2), 1)
    if count > real:
        raise UserError(
            f"--count: there are only {real} real pictures, fewer than {count}; with up to {real // 2}, the other half "
            "can be compared with them too."
        )
    return count


def _pairs(options: GeneratorOptions, real: int) -> int:
    pairs = options.pairs or max(min(FULL_PAIRS, real // 2), 1)
    if 2 * pairs > real:
        raise UserError(f"--pairs: {pairs} pairs need {2 * pairs} real pictures, but there are {real}.")
    return pairs


_SIZES: dict[str, Callable[[GeneratorOptions, int], int]] = {
    "swd": _count,
    "ms-ssim": _pairs,
    "modes": lambda options, _: options.count or FULL_MODES,
    "palette": lambda options, real: options.count or real,
    "two-sample": lambda options, real: options.count or real,
}


# --- the metrics ----------------------------------------------------------------------------------------------------


def _distances(samples: GeneratorSamples, count: int, memory_gb: float) -> dict[str, Any]:
    from progcycle.metrics import sliced_wasserstein
    from progcycle.metrics.sliced_wasserstein import DIRECTIONS, PATCH, PATCHES, REPEATS

    others = {"generated": samples.generated(count)}
    if 2 * count <= len(samples.reals):
        others["real"] = samples.real(count, start=count)
    found = sliced_wasserstein(
        samples.real(count),
        list(others.values()),
        count=count,
        resolution=samples.resolution,
        seed=samples.seed,
        memory_gb=memory_gb,
        device=samples.device,
        progress=samples.progress,
    )
    rows = {name: swd_figures(levels) for name, levels in zip(others, found, strict=True)}
    return {
        "count": count,
        "patches_per_picture": PATCHES,
        "patch": [PATCH, PATCH, 3],
        "directions": [REPEATS, DIRECTIONS],
        "scale": 1000,
        "generated": rows["generated"],
        "real": rows.get("real"),
    }


def _similarities(samples: GeneratorSamples, pairs: int) -> dict[str, Any]:
    from progcycle.metrics import pair_similarities

    rows: dict[str, Any] = {"pairs": pairs}
    for name, source in (("generated", samples.generated(2 * pairs)), ("real", samples.real(2 * pairs))):
        found = pair_similarities(source, pairs, samples.resolution, samples.device)
        error = float(found.std()) / pairs**0.5 if pairs > 1 else None
        rows[name] = {"mean": float(found.mean()), "standard_error": error}
    return rows


def _palette(samples: GeneratorSamples, count: int) -> dict[str, Any]:
    from progcycle.metrics import palette, palette_distances

    made, real = (palette(pictures) for pictures in both_sets(samples, count))
    half = len(real.means) // 2
    halves = (real.of(torch.arange(half)), real.of(torch.arange(half, 2 * half)))
    rows = {"generated": made.figures() | palette_distances(made, real), "real": real.figures()}
    if half:
        rows["real"] |= palette_distances(*halves)
    return {"count": len(made.means), **rows}


def _two_sample(samples: GeneratorSamples, count: int) -> dict[str, Any]:
    from progcycle.metrics import two_sample_test
    from progcycle.metrics.two_sample import BATCH, FOLDS, REPEATS, STEPS

    made, real = both_sets(samples, count)
    if len(made) < FOLDS:
        raise UserError(f"--metrics: two-sample takes {FOLDS} pictures of each set, and there are {len(made)}.")
    found = two_sample_test(made, real, seed=samples.seed)
    protocol = {"folds": FOLDS, "divisions": REPEATS, "steps": STEPS, "batch": BATCH}
    return {"count": len(made), **protocol, "seconds": round(found.seconds, 1), "generated": found.figures()}


def _origin(model: "Generator", snapshot: Path, samples: GeneratorSamples, options: GeneratorOptions) -> dict[str, Any]:
    pictures, config = samples.reals.pictures, model.config
    data = pictures.options
    return {
        **origin(snapshot, config),
        "real": {
            "pictures": len(pictures),
            "paths": list(pictures.paths),
            "channels": data.channels,
            "mirror": data.mirror,
            "load_resolution": data.load_resolution,
            "augment": "off",
            "faded": samples.reals.growth.reals_alpha < 1,
            "broken": list(samples.reals.broken),
        },
        "classes": {
            "names": list(model.classes),
            "shares": "those of the real pictures" if pictures.classes else "equal",
        }
        if model.classes
        else None,
        "grey_levels": 256,
        "seed": options.seed,
        "device": options.device,
    }
