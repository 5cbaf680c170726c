"""The metrics of translators by name, for evaluation during and after training.

Names are FIGURE/DIRECTION, such as ``l1/ab``; those of round trips are ``cycle/aba`` and ``cycle/bab``. See
docs/metrics.md for what each means.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from progcycle.blocks import to_levels
from progcycle.evaluation.diversity import WITHOUT, TestLatents, measure_diversity
from progcycle.evaluation.feature_distances import distances, is_published, score
from progcycle.evaluation.round_trip import Figures, Translate, translate_round_trip
from progcycle.export.tensor_images import as_channels
from progcycle.metrics import (
    Features,
    Palette,
    TwoSampleTest,
    batches_of,
    colour_inversion,
    copy_score,
    edge_scores,
    feature_distance,
    fill_deviation,
    frechet_distance,
    luma_chroma_scores,
    paired_scores,
    palette,
    palette_distances,
    sliced_wasserstein,
    two_sample_test,
)
from progcycle.metrics.two_sample import FOLDS
from progcycle.resolution import Resolution
from progcycle.rng import generator_at

if TYPE_CHECKING:
    from progcycle.export.translator import Direction

Pairs = Sequence[tuple[int, int]]

GROUPS = ("palette", "lines", "swd", "two-sample")  # figures that may be left out
QUICK = ("palette", "lines")
DIRECTIONS: tuple[tuple["Direction", str, str], ...] = (("ab", "a", "b"), ("ba", "b", "a"))
INVERTED = 0.3  # colour inversion from here on is a fault
HIDDEN = 3.0  # a hidden signal from here on is a fault
SMALLEST = 16  # pixels per side that the sliced Wasserstein distance starts at


def measure_translation(
    translate: Translate,
    a: Tensor,
    b: Tensor,
    pairs: Pairs | None,
    features: Features | None,
    *,
    reals: Mapping[str, Tensor] | None = None,
    more: "RealFeatures | None" = None,
    metrics: Collection[str] = QUICK,
    seed: int = 0,
    batch_size: int = 64,
    translate_back: Translate | None = None,
    latents: TestLatents = WITHOUT,
) -> Figures:
    """Figures of both directions of a translator on test pictures.

    Args:
        translate: pictures in [-1, 1] and a direction to pictures in about [-1, 1].  # [n, C, R, R] -> [n, C', R, R]
        a: test pictures of A, in [-1, 1].  # [N, C, R, R]
        b: test pictures of B, in [-1, 1].  # [M, C', R, R]
        pairs: which of A and which of B show the same; None or empty if none do.
        features: for distances in features; without them these are left out.
        reals: features of ``a`` and ``b``, from :func:`real_features`, if they are known already.
        more: other features, with those of ``a`` and ``b``, for a second kernel distance.
        metrics: which groups of figures to measure beside the others, of ``GROUPS``; default: those that are quick.
        seed: of the noise, and of the random choices of metrics.
        batch_size: pictures translated at a time.
        translate_back: translates the outputs of ``translate`` back; default: ``translate`` itself.
        latents: of the translations, where translators have any; their diversity is measured then.

    Returns:
        Figures by name; those that these pictures do not allow are left out.
    """
    figures: Figures = {}
    if features is not None and reals is None:
        reals = real_features(features, a, b)
    pictures = {"a": a, "b": b}
    for direction, source, target in DIRECTIONS:
        round_trip = translate_round_trip(
            translate, pictures[source], direction, seed, batch_size, translate_back, latents
        )
        test_set = DirectionTestSet(
            direction,
            pictures[source].cpu(),
            pictures[target].cpu(),
            source_target_pairs(pairs, direction),
            features,
            reals,
            more,
        )
        figures |= test_set.measure(round_trip.output, metrics=metrics, seed=seed) | round_trip.figures(direction)
        figures |= measure_diversity(translate, pictures[source], direction, latents, features, batch_size)
    return figures


@dataclass(frozen=True)
class RealFeatures:
    """A network for features, and what it makes of the test pictures.

    Attributes:
        features: the network.
        reals: features of the test pictures by domain.  # each [N, D]
    """

    features: Features
    reals: Mapping[str, Tensor]


def real_features(features: Features, a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Features of the test pictures, to be computed once.  # by domain [N, D]"""
    return {"a": features(a), "b": features(b)}


def source_target_pairs(pairs: Pairs | None, direction: "Direction") -> list[tuple[int, int]]:
    """Pairs of A and B as pairs of source and target."""
    return [(i, j) if direction == "ab" else (j, i) for i, j in pairs or ()]


def faults(figures: Mapping[str, float]) -> dict[str, str]:
    """Sentences about what is wrong with a translator, by the name of the figure that shows it."""
    found = {}
    for direction, source, target in DIRECTIONS:
        name, words = f"inversion/{direction}", f"{source.upper()} to {target.upper()}"
        # True pairs may be negatives of each other themselves.
        if figures[name] > INVERTED and figures.get(f"truth_{name}", -1) <= INVERTED:
            found[name] = f"{words} turns colours into their opposites (correlation {-figures[name]:.2f})."
        name = f"hidden/{direction}{source}"
        if figures.get(name, 0) > HIDDEN:
            found[name] = (
                f"{words} hides its source in invisible details: compare the cycle errors after rounding and noise."
            )
    return found


@dataclass(frozen=True)
class DirectionTestSet:
    """The test pictures of one direction; it measures outputs that are given in the order of the sources.

    Attributes:
        direction: ``ab`` or ``ba``.
        source: pictures that are translated, in [-1, 1], on the CPU.  # [N, C, R, R]
        target: real pictures of the other domain, likewise.  # [M, C', R, R]
        pairs: numbers of a source and of the target that shows the same.
        features: for distances in features, or None.
        reals: features of the test pictures by domain.
        more: other features and theirs, for a second kernel distance, or None.
    """

    direction: "Direction"
    source: Tensor
    target: Tensor
    pairs: Pairs = ()
    features: Features | None = None
    reals: Mapping[str, Tensor] | None = None
    more: RealFeatures | None = None

    @property
    def unchanged(self) -> Tensor:
        """The output of doing nothing: the source with the channels of the target."""
        return as_channels(self.source, self.target.shape[1])

    @property
    def same_channels(self) -> bool:
        """Whether outputs can be compared with the source."""
        return self.source.shape[1] == self.target.shape[1]

    def measure(
        self, output: Tensor, *, metrics: Collection[str] = QUICK, seed: int = 0, memory_gb: float = 4.0
    ) -> Figures:
        """Figures of translations, or of pictures in their place, without those of round trips.

        Args:
            output: in [-1, 1], one for each source.  # [N, C', H, W]
            metrics: which groups of figures to measure beside the others, of ``GROUPS``, as far as the pictures allow:
                ``swd`` takes 16 px or more, ``palette`` RGB, ``two-sample`` three pictures of each.
            seed: of the random choices of metrics.
            memory_gb: see :func:`progcycle.metrics.sliced_wasserstein`.
        """
        found = {"inversion": self._inversion(self.source, output)}
        found |= self._to_truth(output) if self.pairs else {"copy": _means(output, self.unchanged)["ssim"]}
        if self.same_channels:
            found |= {f"source_{name}": value for name, value in _means(output, self.source).items()}
        parts = self.halves(seed)
        if self.features is not None and self.reals is not None:
            mine = self.reals[self.direction[0]] if output is self.source else self.features(output)
            found |= self._in_features(mine, self.reals, parts)
        if self.more is not None:
            own, real = (self.more.reals[domain] for domain in self.direction)
            mine = own if output is self.source else self.more.features(output)
            kernel = distances(mine, real, self.more.features)
            found |= {
                name.replace("kid", "kid_resnet"): kernel[name] for name in ("kid", "kid_error") if name in kernel
            }
        if "swd" in metrics and len(parts[0]) and min(output.shape[-2:]) >= SMALLEST:
            found |= self._swd(output, parts, seed, memory_gb)
        if "palette" in metrics and output.shape[1] == 3:
            found |= self._palette(output, parts)
        if "lines" in metrics:
            found |= self._lines(output)
        if "two-sample" in metrics and (test := self.two_sample(output, seed)) is not None:
            found |= test.figures()
        return {f"{name}/{self.direction}": value for name, value in found.items()}

    def two_sample(self, output: Tensor, seed: int = 0) -> TwoSampleTest | None:
        """Whether a classifier that is trained for it tells outputs from the targets; None of too few pictures."""
        if min(len(output), len(self.target)) < FOLDS:
            return None
        return two_sample_test(output, self.target, self.pairs, seed=seed)

    def halves(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of sources and of two halves of the targets, equally many, for distances that depend on the count.

        The outputs of the first and the targets of the third are compared with the targets of the second, and so the
        sources whose true pairs are among these come last.
        """
        rng = generator_at(seed, "metric/halves", self.direction)
        count = min(len(self.source), len(self.target) // 2)
        targets, sources = rng.permutation(len(self.target)), rng.permutation(len(self.source))
        reference = {int(number) for number in targets[:count]}
        known = {i for i, j in self.pairs if j in reference}
        chosen = sorted(sources.tolist(), key=lambda number: number in known)[:count]
        return torch.tensor(chosen), torch.from_numpy(targets[:count]), torch.from_numpy(targets[count : 2 * count])

    def _places(self) -> tuple[Tensor, Tensor]:
        sources, targets = torch.tensor(self.pairs).T
        return sources, targets

    def _to_truth(self, output: Tensor) -> Figures:
        sources, targets = self._places()
        truth, source = self.target[targets], self.unchanged[sources]
        found = {**_means(output[sources], truth), "truth_inversion": self._inversion(self.source[sources], truth)}
        score = copy_score(output[sources], source, truth)
        return found if score is None else {**found, "copy": score}

    def _palette(self, output: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> Figures:
        mine, real = palette(output), self._real_palette
        found = mine.figures() | palette_distances(mine, real)
        found |= {f"{name}_floor": value for name, value in real.figures().items()}
        if len(parts[0]):
            halves = (real.of(part) for part in parts[1:])
            found |= {f"{name}_floor": value for name, value in palette_distances(*halves).items()}
        if self.pairs:
            sources, targets = self._places()
            found |= luma_chroma_scores(output[sources], self.target[targets])
        return found

    def _lines(self, output: Tensor) -> Figures:
        return line_figures(output, self.source) | self._true_lines

    @cached_property
    def _real_palette(self) -> Palette:
        return palette(self.target)

    @cached_property
    def _true_lines(self) -> Figures:
        if not self.pairs:
            return {}
        sources, targets = self._places()
        truth = line_figures(self.target[targets], self.source[sources])
        return {f"{name}_floor": value for name, value in truth.items()}

    def _inversion(self, source: Tensor, output: Tensor) -> float:
        channels = source.shape[1] if source.shape[1] == output.shape[1] else 1
        return colour_inversion(as_channels(source, channels), as_channels(output, channels))

    def _in_features(self, found: Tensor, reals: Mapping[str, Tensor], parts: tuple[Tensor, Tensor, Tensor]) -> Figures:
        own, real = reals[self.direction[0]], reals[self.direction[1]]
        assert self.features is not None
        figures = distances(found, real, self.features) | score(found, self.features)
        chosen, reference, others = parts
        if is_published(self.features):
            figures |= {f"{name}_floor": value for name, value in score(real, self.features).items()}
        elif len(chosen) > found.shape[1]:
            figures["fd"] = frechet_distance(found[chosen], real[reference])
            figures["fd_floor"] = frechet_distance(real[others], real[reference])
        if self.pairs:
            sources, targets = self._places()
            figures["feature"] = float(feature_distance(found[sources], real[targets]).mean())
        if self.same_channels:
            figures["source_feature"] = float(feature_distance(found, own).mean())
        return figures

    def _swd(self, output: Tensor, parts: tuple[Tensor, Tensor, Tensor], seed: int, memory_gb: float) -> Figures:
        chosen, reference, others = parts
        real, mine, theirs = self.target[reference], output[chosen], self.target[others]
        levels = sliced_wasserstein(
            batches_of(to_levels(real)),
            [batches_of(to_levels(mine)), batches_of(to_levels(theirs))],
            count=len(chosen),
            resolution=Resolution(*output.shape[-2:]),
            seed=seed,
            memory_gb=memory_gb,
        )
        means = [sum(found.values()) / len(found) for found in levels]
        return {"swd": means[0], "swd_floor": means[1]}


def line_figures(pictures: Tensor, drawings: Tensor) -> Figures:
    """What pictures make of the lines of others, by name, without what there is none of."""
    edges = edge_scores(pictures, drawings)
    found = {
        "fill": fill_deviation(pictures, drawings),
        "edge_recall": edges.recall,
        "edge_precision": edges.precision,
    }
    return {name: value for name, value in found.items() if value is not None}


def _means(pictures: Tensor, others: Tensor) -> Figures:
    return paired_scores(pictures, others).means()
