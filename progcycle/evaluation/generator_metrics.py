"""The metrics of generators by name, for evaluation during and after training."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from progcycle.blocks import from_levels
from progcycle.errors import UserError
from progcycle.evaluation.feature_distances import COUNTS, PRECISION_RECALL, measure_in_features
from progcycle.evaluation.generator_samples import (
    GeneratorSamples,
    RealPictures,
    generate_from_sampler,
    real_picture_set,
    samples_from_model,
)
from progcycle.metrics import load_features
from progcycle.resolution import Resolution

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.evaluation.sampler import EvaluationCallback, Sampler
    from progcycle.metrics import Features, PictureBatches
    from progcycle.metrics.digits import DigitClassifier
    from progcycle.recipe import Recipe

TOGETHER = ("kid", PRECISION_RECALL)  # of the same features
SMALLEST = {"swd": 16, "ms-ssim": 16, "modes": 8, **dict.fromkeys(("palette", "two-sample", *TOGETHER), 2)}  # pixels
IN_MEMORY, MOST = 1 << 26, 2048  # numbers, and pictures, of a set that is measured as a whole
READABLE = 0.9  # share of the real digits that the classifier must read correctly
STACK = re.compile(r"_(\d)(\d)(\d)\.\w+$")  # names of stacked digits end in the digits of red, green and blue
# Figures that the best snapshot may be chosen by, by metric.
LOWEST = {
    "swd": ("swd",),
    "modes": ("kl",),
    "palette": ("hue_distance", "chroma_distance"),
    "two-sample": ("two_sample_auc",),
    "kid": ("kid",),
}
Figures = dict[str, float]


def swd(samples: GeneratorSamples, count: int) -> Figures:
    """Sliced Wasserstein distance x 1000 of ``count`` pictures, or half as many as there are real ones if fewer."""
    from progcycle.metrics import sliced_wasserstein

    count = min(count, max(len(samples.reals) // 2, 1))
    (levels,) = sliced_wasserstein(
        samples.real(count),
        [samples.generated(count)],
        count=count,
        resolution=samples.resolution,
        seed=samples.seed,
        device=samples.device,
        progress=samples.progress,
    )
    return swd_figures(levels)


def swd_figures(levels: Mapping[int, float]) -> Figures:
    """Distances by level, and their average, by the names that they are logged under."""
    return {**{f"swd/{side}": value for side, value in levels.items()}, "swd": sum(levels.values()) / len(levels)}


def similarity(samples: GeneratorSamples, count: int) -> Figures:
    """Mean MS-SSIM of ``count`` generated pictures in pairs."""
    from progcycle.metrics import pair_similarities

    pairs = max(count // 2, 1)
    found = pair_similarities(samples.generated(2 * pairs), pairs, samples.resolution, samples.device)
    return {"ms-ssim": float(found.mean())}


def modes(samples: GeneratorSamples, count: int) -> Figures:
    """How ``count`` generated pictures cover the 1,000 modes of stacked digits."""
    from progcycle.metrics.digits import digit_classifier

    return modes_figures(digit_classifier(), samples.generated(count))


def modes_figures(classifier: "DigitClassifier", source: "PictureBatches") -> Figures:
    """How all pictures of a source cover the modes, as a classifier reads them."""
    import torch

    from progcycle.metrics import mode_coverage

    found = mode_coverage(torch.cat([classifier.read(batch) for batch in source()]))
    return {"modes": float(found.modes), "kl": found.kl, "kl_found": found.kl_found}


def colours(samples: GeneratorSamples, count: int) -> Figures:
    """The colours of ``count`` generated pictures, and how far they are from those of as many real ones."""
    from progcycle.metrics import palette, palette_distances

    made, real = (palette(pictures) for pictures in both_sets(samples, count))
    return made.figures() | palette_distances(made, real)


def two_sample(samples: GeneratorSamples, count: int) -> Figures:
    """Whether a fresh classifier tells ``count`` generated pictures from as many real ones."""
    from progcycle.metrics import two_sample_test

    return two_sample_test(*both_sets(samples, count), seed=samples.seed).figures()


def in_features(samples: GeneratorSamples, count: int, names: Sequence[str] = TOGETHER) -> Figures:
    """Metrics in features of EfficientNet-lite0, of ``count`` pictures, or of 2,048 or all real ones if fewer.

    Raises:
        UserError: there are too few pictures, or the extra ``metrics`` is not installed.
    """
    features = _main_features(samples.device)
    count = min(count, len(samples.reals), COUNTS[False])
    found = measure_in_features(samples, names, features, count)
    return {figure: value for name in names for figure, value in found[name]["generated"].items()}


def _main_features(device: str) -> "Features":
    import torch

    with torch.random.fork_rng(devices=[]):  # a network that is built draws weights: training must not see it
        return load_features("efficientnet-lite0", device)


def both_sets(samples: GeneratorSamples, count: int) -> "tuple[Tensor, Tensor]":
    """Generated and real pictures, as many of each: ``count``, or fewer if there are not so many or they are large.

    Returns:
        Pictures in [-1, 1].  # each [n, C, H, W]
    """
    import torch

    count = min(count, len(samples.reals), set_size(samples.resolution))
    made, real = (
        torch.cat([from_levels(batch.cpu()) for batch in source()])
        for source in (samples.generated(count), samples.real(count))
    )
    return made, real


def set_size(resolution: int) -> int:
    """How many pictures are looked at as a whole at most."""
    return max(min(MOST, IN_MEMORY // (3 * Resolution.of(resolution).pixels)), 16)


METRICS: dict[str, Callable[[GeneratorSamples, int], Figures]] = {
    "swd": swd,
    "ms-ssim": similarity,
    "modes": modes,
    "palette": colours,
    "two-sample": two_sample,
    **{name: partial(in_features, names=[name]) for name in TOGETHER},
}


def measure(samples: GeneratorSamples, names: Sequence[str], count: int) -> Figures:
    """Figures of several metrics; those in the same features look at each picture once.

    Args:
        samples: generated and real pictures.
        names: of ``METRICS``.
        count: generated pictures of each; a metric takes fewer where there are fewer real ones.
    """
    found: Figures = {}
    together = [name for name in names if name in TOGETHER]
    for name in names:
        if name not in together:
            found |= METRICS[name](samples, count)
        elif name == together[0]:
            found |= in_features(samples, count, together)
    return found


def check_known(names: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse metrics that there are not.

    Args:
        names: names of metrics.
        known: those that there are.
        where: what to name in the sentence, such as a recipe key.

    Raises:
        UserError: one sentence about the first that is unknown.
    """
    for name in names:
        if name not in known:
            raise UserError(f"{where}: there is no metric {name!r}; choose from {', '.join(known)}.")


def check_metrics(names: Sequence[str], resolution: int, channels: int, where: str, own: Collection[str] = ()) -> None:
    """Refuse metrics that are unknown, or that pictures of this kind do not allow.

    Args:
        names: names of metrics.
        resolution: of the pictures.
        channels: 1 or 3.
        where: what to name in the sentence, such as a recipe key.
        own: names of metrics that the task has besides, which any pictures allow.

    Raises:
        UserError: one sentence about the first that cannot be computed; also if the extra ``metrics`` is missing.
    """
    for name in (name for name in names if name not in own):
        check_known([name], [*own, *METRICS], where)
        if resolution < SMALLEST[name]:
            raise UserError(
                f"{where}: {name} needs pictures of {SMALLEST[name]} px or more, these have {resolution} px; leave it "
                "out."
            )
        if name in TOGETHER:
            _main_features("cpu")  # as a check
        if name == "palette" and channels != 3:
            raise UserError(f"{where}: palette measures colours, and these pictures are grey; leave it out.")
        if name == "modes" and not Resolution.of(resolution).is_square:
            raise UserError(f"{where}: modes reads digits in squares, and these have {resolution} px; leave it out.")
        if name == "modes" and channels != 3:
            raise UserError(f"{where}: modes counts stacked digits, whose colours are the digits; these are grey.")


def check_best(best: str | None, metrics: Sequence[str], lowest: Mapping[str, Sequence[str]]) -> None:
    """Refuse a figure that the best snapshot cannot be chosen by.

    Args:
        best: the key ``training.evaluation.best``; None and ``auto`` fit all metrics.
        metrics: names of what is measured.
        lowest: names of the figures of which the lowest is the best, by metric.

    Raises:
        UserError: it is not measured, or its lowest value is not the best.
    """
    possible = [figure for name in metrics for figure in lowest.get(name, ())]
    if best not in (None, "auto", *possible):
        choice = f"choose from {', '.join(possible)}, or auto" if possible else "leave it out"
        raise UserError(
            f"training.evaluation.best: {best!r} is not a measured figure of which the lowest is the best; {choice}."
        )


def check_digit_classifier(classifier: "DigitClassifier", reals: RealPictures, where: str) -> float | None:
    """Share of the digits on up to 500 real pictures that the classifier reads as the pictures' names state them.

    Returns:
        The share, or None where the names do not end in three digits, as in 000012_407.png.

    Raises:
        UserError: the share is so low that counting modes means nothing.
    """
    import torch

    positions = range(min(500, len(reals)))
    found = [STACK.search(reals.name_at(place)) for place in positions]
    named = [match.groups() for match in found if match]
    if len(named) < len(found):
        return None
    truth = torch.tensor([[int(digit) for digit in digits] for digits in named])
    share = float((classifier.read(reals(positions)) == truth).double().mean())
    if share < READABLE:
        raise UserError(
            f"{where}: the classifier of scikit-learn's digits reads only {100 * share:.0f} % of the digits on the "
            "real pictures correctly; modes needs stacks of those digits (datasets/digits), or a classifier of its own "
            "(--digits of progcycle evaluate)."
        )
    return share


def measure_run(run: Path, names: Sequence[str], count: int, seed: int = 0, device: str = "cpu") -> Figures:
    """Figures of the newest snapshot of a run; the real pictures are those of its recipe.

    Args:
        run: a run folder, or a snapshot.
        names: metrics, of ``METRICS``.
        count: generated pictures; swd takes half as many as there are real ones if these are fewer.
        seed: of latents and of the metrics' own choices.
        device: where to paint and compute.

    Raises:
        UserError: the run holds no PG-GAN, or a metric cannot be computed.
    """
    from progcycle.export import Generator, load_as

    model = load_as(Generator, run, device)
    samples = samples_from_model(model, seed, device, batch_size=256)
    check_metrics(names, model.resolution, samples.reals.pictures.options.channels, "metrics")
    if "modes" in names:
        from progcycle.metrics.digits import digit_classifier

        check_digit_classifier(digit_classifier(), samples.reals, "metrics")
    return measure(samples, names, count)


def generator_evaluator(
    recipe: "Recipe",
    cache_dir: Path | None = None,
    own: "Mapping[str, Callable[[Sampler], Figures]]" = MappingProxyType({}),
) -> "EvaluationCallback":
    """The callback that measures a generator during training.

    Metrics that need more pixels than the stage has are left out.

    Args:
        recipe: a validated recipe of generators with ``training.evaluation``.
        cache_dir: folder of the run's caches of pictures, which are read if they exist.
        own: metrics that the task has besides, by name; each gives a figure of its name, of which the lowest is best.

    Raises:
        UserError: the recipe has metrics that cannot be computed, or its pictures are missing.
    """
    options, where = recipe.training.evaluation, "training.evaluation.metrics"
    if options is None:
        raise ValueError("the recipe has no training.evaluation")
    domain = recipe.data.domains["real"]
    check_metrics(options.metrics, recipe.resolution, domain.channels, where, own)
    check_best(options.best, options.metrics, {**LOWEST, **{name: (name,) for name in own}})
    if own.keys() >= set(options.metrics) and options.count != type(options).model_fields["count"].default:
        raise UserError(
            f"training.evaluation.count: {' and '.join(options.metrics)} is measured without pictures; leave it out."
        )
    pictures = real_picture_set(recipe, recipe.seed, cache_dir)
    if len(pictures) < 2 and not own.keys() >= set(options.metrics):
        raise UserError(
            f"training.evaluation: metrics take half of the real pictures, and there is only {len(pictures)}."
        )
    if "modes" in options.metrics:
        from progcycle.metrics.digits import digit_classifier
        from progcycle.schedule import GrowthSchedule

        final = GrowthSchedule.of(recipe).final
        check_digit_classifier(digit_classifier(), RealPictures(pictures, final), where)

    def evaluate(sample: "Sampler", nimg: int) -> Figures:
        growth = sample.growth
        generate = generate_from_sampler(sample, recipe.seed, pictures)
        samples = GeneratorSamples(
            generate, RealPictures(pictures, growth), recipe.seed, str(sample.device), growth.batch_size
        )
        ready = [name for name in options.metrics if name not in own and growth.resolution >= SMALLEST[name]]
        found = {key: value for name in options.metrics if name in own for key, value in own[name](sample).items()}
        return found | measure(samples, ready, options.count)

    return evaluate
