"""Evaluation of translators during training, on pictures that ``data.validation`` holds out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.errors import UserError
from progcycle.evaluation.generator_metrics import Figures, check_best, check_known
from progcycle.evaluation.pairs import COMPARED_RESOLUTION, find_pairs, pair_up, several_of
from progcycle.output import say, warn

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.data import PictureSet
    from progcycle.evaluation.sampler import Sampler
    from progcycle.evaluation.translation_metrics import RealFeatures
    from progcycle.export.translator import Direction
    from progcycle.metrics.features import Features
    from progcycle.recipe import CycleganRecipe
    from progcycle.schedule import Growth

ALL = "all"  # every metric that is available, but for those that take long
# The figures of each metric, by the first part of their names.
METRICS = {
    "kid": ("kid",),
    "pair": ("l1", "psnr", "ssim"),
    "cycle": ("cycle", "cycle_rounded"),
    "copy": ("copy", "inversion"),
    "palette": ("hue_distance", "chroma_distance", "colours", "mean_chroma", "colour_spread"),
    "lines": ("fill", "edge_recall", "edge_precision"),
    "diversity": ("diversity", "diversity_feature", "latent"),
    "kid-resnet": ("kid_resnet",),
    "two-sample": ("two_sample_error", "two_sample_auc"),
}
LONG = ("kid-resnet", "two-sample")  # metrics that are measured only where they are named
# Figures that the best snapshot may be chosen by: the lower the better.
LOWEST = {
    "kid": ("kid", "kid/ab", "kid/ba"),
    "pair": ("l1/ab", "l1/ba"),
    "cycle": ("cycle/aba", "cycle/bab", "cycle_rounded/aba", "cycle_rounded/bab"),
    "palette": ("hue_distance/ab", "hue_distance/ba", "chroma_distance/ab", "chroma_distance/ba"),
    "kid-resnet": ("kid_resnet/ab", "kid_resnet/ba"),
    "two-sample": ("two_sample_auc/ab", "two_sample_auc/ba"),
}
FEATURES_OF = {"kid": "efficientnet-lite0", "kid-resnet": "open-nsfw"}  # networks by metric
BATCH = 16  # pictures translated at a time


class TranslationEvaluator:
    """The callback that measures translators during training.

    The pictures are those of the stage, faded as training's; both directions are measured. Test pictures are never
    read. The distance ``kid`` is the mean of ``kid/ab`` and ``kid/ba``.

    Args:
        recipe: a validated recipe with ``training.evaluation``.
        cache_dir: folder of the run's caches of pictures, which are read if they exist.

    Attributes:
        metrics: names of what is measured, of ``METRICS``.
        left_out: one sentence for each metric that ``all`` leaves out.

    Raises:
        UserError: nothing is held out, a metric is unknown or cannot be computed, or the pictures are missing.
    """

    def __init__(self, recipe: "CycleganRecipe", cache_dir: Path | None = None) -> None:
        from progcycle.data import resolve_validation_sets

        options, data = recipe.training.evaluation, recipe.data
        if options is None:
            raise ValueError("the recipe has no training.evaluation")
        if not data.validation:
            raise UserError(
                "training.evaluation: translators are measured on pictures that are held out of training, and there "
                "are none; set data.validation, such as 0.1, or leave training.evaluation out."
            )
        if cache_dir is None:
            data = data.model_copy(update={"cache_resolution": 0})
        sets = resolve_validation_sets(
            data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=cache_dir or Path()
        )
        self.recipe, self.sets = recipe, sets
        self.latents = getattr(recipe.network.generator, "latents", None)
        self.chosen = {domain: choose_by_name(pictures, options.count) for domain, pictures in sets.items()}
        self._features: dict[tuple[str, str], Features] = {}  # by name and device
        self._shown: object = None  # a key of the pictures that the features below are of
        self._reals: dict[str, RealFeatures] = {}  # by metric
        self.left_out: list[str] = []
        self.metrics = self._available(options.metrics)
        check_best(options.best, self.metrics, LOWEST)
        self._warned: set[str] = set()
        self._reported = False

    def _available(self, wanted: Sequence[str]) -> list[str]:
        """Names of the metrics to compute; an error if one that is listed by name cannot be."""
        where = "training.evaluation.metrics"
        check_known(wanted, (*METRICS, ALL), where)
        found = []
        for name in METRICS:
            if name not in wanted and (ALL not in wanted or name in LONG):
                continue
            try:
                if name in FEATURES_OF:
                    self._load(FEATURES_OF[name], "cpu")  # as a check: the run's device is not known yet
                if name == "pair":
                    self._check_pairs()
                if name == "diversity" and self.latents is None:
                    if name not in wanted:
                        continue
                    raise UserError(
                        "these translators have no latents, so that each picture has one translation; leave it out, or "
                        "set network.generator.latents."
                    )
            except UserError as error:
                if name in wanted:
                    raise UserError(f"{where}: {name} cannot be measured: {error}") from None
                self.left_out.append(f"{name} is left out: {error}")
            else:
                found.append(name)
        return found

    def _check_pairs(self) -> None:
        from progcycle.evaluation.translation_pictures import read_pictures

        def read(domain: str, places: list[int]) -> "Tensor":
            numbers = [self.chosen[domain][place] for place in places]
            small = self.recipe.resolution.halves(COMPARED_RESOLUTION)[-1]
            return read_pictures(self.sets[domain], small, numbers, strict=False)

        pairing = find_pairs(self.sets, self.recipe.data.paired, read, self.chosen, strict=False)
        if not pairing.pairs:
            raise UserError(f"{pairing.sentence or 'no held-out picture of A has the name of one of B'}.")

    def about(self) -> list[str]:
        """Lines about what is measured, and what is left out."""
        counts = " and ".join(f"{len(self.chosen[domain])} of {domain.upper()}" for domain in ("a", "b"))
        return [f"evaluation: {', '.join(self.metrics)} on held-out pictures, {counts}", *self.left_out]

    def __call__(self, sampler: "Sampler", nimg: int) -> Figures:
        """Figures by name, see ``docs/translation.md``."""
        import torch

        from progcycle.evaluation.diversity import TestLatents
        from progcycle.evaluation.translation_metrics import GROUPS, measure_translation
        from progcycle.networks import drawn_latents

        if not self._reported:
            self._reported = True
            for line in self.about():
                say(line)
        (a, names_a), (b, names_b) = (self._read(domain, sampler.growth) for domain in ("a", "b"))

        def translate(pictures: "Tensor", direction: "Direction", *latents: "Tensor") -> "Tensor":
            batches = zip(torch.split(pictures, BATCH), *(torch.split(z, BATCH) for z in latents), strict=True)
            return torch.cat([sampler.apply(f"gen_{direction}", *some).clamp(-1, 1).cpu() for some in batches])

        def estimate(pictures: "Tensor", direction: "Direction") -> "Tensor":
            batches = torch.split(pictures, BATCH)
            return torch.cat([sampler.apply(f"enc_{direction[1]}", some).cpu() for some in batches])

        def choose(normals: "Tensor", direction: "Direction", sources: "Tensor") -> "Tensor":
            return drawn_latents(sampler.networks[f"enc_{direction[1]}"], normals, sources)

        pairs = pair_up(names_a, names_b, False, several_of(self.sets)) if "pair" in self.metrics else []
        sizes: dict[Direction, int] = (
            {} if self.latents is None else {"ab": self.latents.ab or 0, "ba": self.latents.ba or 0}
        )
        shown = (names_a, names_b, sampler.growth.resolution, sampler.growth.progress)
        if self._shown != shown:  # they change in fades only
            self._shown, self._reals = shown, {}
        found = {name: self._real_features(name, str(sampler.device), a, b) for name in FEATURES_OF}
        kid, more = found["kid"], found["kid-resnet"]
        figures = measure_translation(
            translate,
            a,
            b,
            pairs or None,
            kid.features if kid else None,
            reals=kid.reals if kid else None,
            more=more,
            metrics=[name for name in GROUPS if name in self.metrics],
            latents=TestLatents(sizes, estimate, choose=choose),
        )
        kinds = {kind for name in self.metrics for kind in METRICS[name]}
        figures = {name: value for name, value in figures.items() if name.partition("/")[0] in kinds}
        if {"kid/ab", "kid/ba"} <= figures.keys():
            figures = {"kid": (figures["kid/ab"] + figures["kid/ba"]) / 2, **figures}
        return figures

    def _real_features(self, metric: str, device: str, a: "Tensor", b: "Tensor") -> "RealFeatures | None":
        """The network of a metric and its features of the real pictures, computed once; None if it is not wanted."""
        from progcycle.evaluation.translation_metrics import RealFeatures, real_features

        if metric not in self.metrics:
            return None
        if metric not in self._reals:
            features = self._load(FEATURES_OF[metric], device)
            self._reals[metric] = RealFeatures(features, real_features(features, a, b))
        return self._reals[metric]

    def _load(self, name: str, device: str) -> "Features":
        import torch

        from progcycle.metrics.features import load_features

        if (name, device) not in self._features:
            self._features = {key: value for key, value in self._features.items() if key[0] != name}
            with torch.random.fork_rng(devices=[]):  # a network that is built draws weights: training must not see it
                self._features[name, device] = load_features(name, device)
        return self._features[name, device]

    def _read(self, domain: str, growth: "Growth") -> tuple["Tensor", list[str]]:
        """The chosen pictures as the networks see them, and their names; broken ones are left out and named once."""
        from progcycle.data import as_reals, collate

        samples = [self.sets[domain].plain(i, growth.resolution) for i in self.chosen[domain]]
        for sentence in dict.fromkeys(sentence for sample in samples for sentence in sample.broken):
            if sentence not in self._warned:
                self._warned.add(sentence)
                warn(f"warning: {sentence.rstrip('.')} (left out of the evaluation)")
        whole = [sample for sample in samples if not sample.broken]
        if len(whole) < 2:
            raise UserError(f"training.evaluation: fewer than 2 held-out pictures of {domain.upper()} can be read.")
        return as_reals(collate(whole).images, growth), [sample.name for sample in whole]


def choose_by_name(pictures: "PictureSet", count: int) -> list[int]:
    """Indices of up to ``count`` pictures in name order, chosen by their names alone, so that pairs stay together."""
    from progcycle.data.split import name_hash, stem_of

    several = len(pictures.paths) > 1
    by_hash = sorted(range(len(pictures)), key=lambda i: (name_hash(stem_of(pictures.names[i], several)), i))
    return sorted(by_hash[:count])
