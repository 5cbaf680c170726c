"""Metrics in features of a network: KID and precision and recall in any, FID and the Inception Score in Inception's."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from progcycle.blocks import from_levels
from progcycle.errors import UserError
from progcycle.evaluation.round_trip import Figures
from progcycle.metrics import (
    Features,
    MissingExtra,
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_distance_spread,
    load_features,
    manifold_overlap,
)
from progcycle.metrics.features import HOW_TO_GET_INCEPTION
from progcycle.metrics.manifold import DENSITY_NEIGHBOURS, NEIGHBOURS

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.evaluation.generator_samples import GeneratorSamples
    from progcycle.metrics import PictureBatches

PRECISION_RECALL = "precision-recall"
# Figures of each metric: heading, name, and how it is written.
IN_FEATURES = {
    "kid": (("KID", "kid", ".5f"), ("+-", "kid_error", ".5f")),
    "fid": (("FID", "fid", ".2f"),),
    "is": (("IS", "is", ".3f"), ("+-", "is_deviation", ".3f")),
}
# The same of generators, with what translators do not have.
OF_GENERATORS = {
    **IN_FEATURES,
    PRECISION_RECALL: tuple((name, name, ".3f") for name in ("precision", "recall", "density", "coverage")),
}
RESNET = "kid-resnet"  # the metric: KID in features of open_nsfw, for runs whose discriminators saw the others
PUBLISHED = ("fid", "is")  # metrics that are defined in features of the Inception network
FEWEST = 3  # pictures of a set, for the standard error of KID
FEWEST_NEIGHBOURS = max(NEIGHBOURS, DENSITY_NEIGHBOURS) + 1  # and for precision and recall
PARTS, PARTS_FROM = 10, 5000  # of the Inception Score: parts, and from how many pictures on there are several
COUNTS = {True: 50_000, False: 2048}  # generated pictures by default, with Inception (as published) and without


def choose_features(
    names: Sequence[str], required: bool, inception: str | None, device: str
) -> tuple[Features | None, str]:
    """The network that metrics need.

    Args:
        names: of metrics.
        required: whether the user named them; else metrics that cannot be measured are left out.
        inception: weights file of the Inception network, or None for EfficientNet-lite0.
        device: where to compute.

    Returns:
        The network, or None and a sentence why there is none; None and "" where no metric needs one.

    Raises:
        UserError: a required metric cannot be measured.
    """
    for name in names:
        if name in PUBLISHED and inception is None:
            raise UserError(
                f"--metrics: {name} is measured in features of the Inception network; give --inception "
                f"{HOW_TO_GET_INCEPTION}."
            )
    if not set(names) & set(OF_GENERATORS):
        if inception is not None:
            raise UserError(f"--inception: {' and '.join(names)} do not use it; add kid, fid or is to --metrics.")
        return None, ""
    try:
        return load_features("inception" if inception else "efficientnet-lite0", device, inception), ""
    except MissingExtra as error:
        if required or inception is not None:
            raise
        return None, str(error)


def choose_resnet(names: Sequence[str], asked: bool, seen: bool, device: str) -> tuple[Features | None, str]:
    """The network of the metric ``kid-resnet``, where it is asked for, or where the other features have been seen.

    Args:
        names: of metrics.
        asked: whether a person named them.
        seen: whether a discriminator has seen the features of the other metrics.
        device: where to compute.

    Returns:
        The network, or None; and a sentence why there is none, "" where none is needed.

    Raises:
        MissingExtra: it was asked for, and is not installed.
    """
    if RESNET not in names and (asked or not seen):
        return None, ""
    try:
        return load_features("open-nsfw", device), ""
    except MissingExtra as error:
        if asked:
            raise
        return None, str(error)


def is_published(features: "Callable[[Tensor], Tensor]") -> bool:
    """Whether FID and the Inception Score are defined in features: those of a classifier whose last layer is known.

    Any function from pictures to features will do for KID.
    """
    return getattr(features, "classes", None) is not None


def distances(made: "Tensor", real: "Tensor", features: Features) -> Figures:
    """KID and FID of two sets by their features, as far as there are enough pictures.  # [N, D], [M, D]"""
    figures: Figures = {}
    if min(len(made), len(real)) >= FEWEST:
        figures |= {"kid": kernel_distance(made, real), "kid_error": kernel_distance_spread(made, real)}
    if is_published(features) and min(len(made), len(real)) >= 2:
        figures["fid"] = frechet_distance(made, real)
    return figures


def overlap(made: "Tensor", real: "Tensor") -> Figures:
    """Precision, recall, density and coverage of two sets by their features, if there are enough pictures."""
    if min(len(made), len(real)) < FEWEST_NEIGHBOURS:
        return {}
    return manifold_overlap(made, real).figures()


def score(found: "Tensor", features: Features) -> Figures:
    """The Inception Score of pictures by their features, and its deviation over parts if there are any.  # [N, D]"""
    if not is_published(features):
        return {}
    parts = PARTS if len(found) >= PARTS_FROM else 1
    mean, deviation = inception_score(features.logits(found), parts)
    return {"is": mean, "is_deviation": deviation} if parts > 1 else {"is": mean}


def is_biased(features: Features, *counts: int) -> bool:
    """Whether FID and the Inception Score are mostly bias, because there are fewer pictures than dimensions."""
    return is_published(features) and min(counts) < features.dimensions


def bias_note(dimensions: int) -> str:
    """What a star at FID and IS means, in two lines.

    Args:
        dimensions: of the features.
    """
    return (
        f"* of fewer than {dimensions:,} pictures, for which FID is too high and IS too low: compare at equal "
        "counts\n  only; KID has no such bias"
    )


def features_record(features: Features | None) -> dict[str, Any] | None:
    """The network and the protocol, for a record."""
    if features is None:
        return None
    found = {"name": features.name, "dimensions": features.dimensions, **features.protocol}
    found["kid"] = "(x.y / D + 1)^3, unbiased, all pictures; kid_error: jackknife over the pictures of both sets"
    found[PRECISION_RECALL] = (
        f"balls up to the nearest neighbour {NEIGHBOURS} (precision, recall) and {DENSITY_NEIGHBOURS} (density, "
        "coverage), surfaces included; depends on the counts"
    )
    if is_published(features):
        found["fid"] = "means and covariances of all pictures; biased below as many as there are dimensions"
        found["is"] = f"{PARTS} parts from {PARTS_FROM} pictures on, else one"
    return found


def measure_in_features(
    samples: "GeneratorSamples", names: Sequence[str], features: Features, count: int | None
) -> dict[str, Any]:
    """Metrics in features of generated pictures, and of real ones for comparison.

    Args:
        samples: generated and real pictures.
        names: of metrics, of ``OF_GENERATORS``.
        features: the network.
        count: generated pictures; default: as many as there are real ones, at most ``COUNTS``.

    Returns:
        For a record, by metric.

    Raises:
        UserError: there are too few pictures.
    """
    reals = len(samples.reals)
    count = count or min(reals, COUNTS[is_published(features)])
    fewest = FEWEST_NEIGHBOURS if PRECISION_RECALL in names else FEWEST
    real_count = min(reals, max(count, fewest))
    if min(count, real_count) < fewest:
        raise UserError(
            f"{' and '.join(names)}: {fewest} generated and {fewest} real pictures are the fewest, and there are "
            f"{count} and {real_count}; raise --count, or name other real pictures with --data."
        )
    made, real = (_features_of(source, features) for source in (samples.generated(count), samples.real(real_count)))
    half = real_count // 2
    rows = {
        "generated": distances(made, real, features) | score(made, features),
        "real": distances(real[:half], real[half:], features) | score(real, features),
    }
    if PRECISION_RECALL in names:
        rows["generated"] |= overlap(made, real)
        rows["real"] |= overlap(real[:half], real[half:])
    found = {}
    for name in names:
        own = [figure for _, figure, _ in OF_GENERATORS[name]]
        found[name] = {
            "count": count,
            "real_count": real_count,
            **{what: {figure: row[figure] for figure in own if figure in row} for what, row in rows.items()},
            **(_biased(name, features, count, real_count, name in rows["real"]) if name in PUBLISHED else {}),
        }
    return found


def _biased(name: str, features: Features, count: int, real_count: int, floor: bool) -> dict[str, bool]:
    """Whether the figure of generated pictures, and that of real ones, is mostly bias."""
    half = real_count // 2  # FID compares two halves of the real pictures; IS takes all of them
    return {
        "biased": is_biased(features, count, real_count),
        "real_biased": floor and is_biased(features, half if name == "fid" else real_count),
    }


def _features_of(source: "PictureBatches", features: Features) -> "Tensor":
    return torch.cat([features(from_levels(batch)) for batch in source()])
