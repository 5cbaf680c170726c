"""The metrics of the unconditional task by name, computed for a run or while it trains."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle.errors import UserError
from progcycle.metrics import Source, mode_coverage, pair_similarities, sliced_wasserstein

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.data import PictureSet
    from progcycle.engine.samples import Evaluate, Sampler
    from progcycle.export import Generator
    from progcycle.recipe import Recipe
    from progcycle.schedule import Growth

SMALLEST = 16  # pixels of a side, for the metrics that look at several scales
Figures = dict[str, float]


@dataclass(frozen=True)
class Ask:
    """What a metric is computed from.

    Attributes:
        painted: generated pictures, at least ``count`` of them.
        real: real pictures, at least ``count`` of them.
        count: pictures of each set.
        resolution: pixels of a side.
        seed: of the metric's own random choices.
        device: where to compute.
        progress: show progress bars.
    """

    painted: Source
    real: Source
    count: int
    resolution: int
    seed: int
    device: str
    progress: bool = False


def swd(ask: Ask) -> Figures:
    """Sliced Wasserstein distance from the real pictures, times 1,000: by level, and the average."""
    (levels,) = sliced_wasserstein(
        ask.real,
        [ask.painted],
        count=ask.count,
        resolution=ask.resolution,
        seed=ask.seed,
        device=ask.device,
        progress=ask.progress,
    )
    return swd_figures(levels)


def swd_figures(levels: Mapping[int, float]) -> Figures:
    """Distances by level, and their average, by the names that they are logged under."""
    return {**{f"swd/{side}": value for side, value in levels.items()}, "swd": sum(levels.values()) / len(levels)}


def similarity(ask: Ask) -> Figures:
    """Mean MS-SSIM of generated pictures in pairs: how much they resemble each other."""
    pairs = pair_similarities(ask.painted, ask.count // 2, ask.resolution, ask.device)
    return {"ms-ssim": float(pairs.mean())}


def modes(ask: Ask) -> Figures:
    """How the generated pictures cover the 1,000 modes of stacked digits, in the eyes of the digit judge."""
    import torch

    from progcycle.metrics.digits import digit_judge

    judge, seen, read = digit_judge(), 0, []
    for batch in ask.painted():
        batch = batch[: ask.count - seen]
        seen += len(batch)
        read.append(judge.read(batch.float()))
        if seen == ask.count:
            break
    found = mode_coverage(torch.cat(read))
    return {"modes": float(found.modes), "kl": found.kl, "kl_found": found.kl_found}


METRICS: dict[str, Callable[[Ask], Figures]] = {"swd": swd, "ms-ssim": similarity, "modes": modes}


def check_metrics(names: Sequence[str], resolution: int, channels: int, where: str) -> None:
    """Refuse metrics that are unknown, or that pictures of this kind do not allow.

    Args:
        names: names of metrics.
        resolution: pixels of a side of the pictures.
        channels: 1 or 3.
        where: what to name in the sentence, such as a recipe key.

    Raises:
        UserError: one sentence about the first that cannot be computed.
    """
    for name in names:
        if name not in METRICS:
            raise UserError(f"{where}: there is no metric {name!r}; choose from {', '.join(METRICS)}.")
        if name in ("swd", "ms-ssim") and (resolution < SMALLEST or resolution & (resolution - 1)):
            raise UserError(f"{where}: {name} starts at {SMALLEST} px, the pictures have {resolution}; leave it out.")
        if name == "modes" and (channels != 3 or resolution % 8):
            raise UserError(f"{where}: modes counts stacked digits, which are RGB pictures of 8 px or a multiple.")


def grey_levels(pictures: "Tensor") -> "Tensor":
    """Pictures in [-1, 1] as the grey levels 0 to 255 that a file would hold.  # uint8"""
    import torch

    return (pictures.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)


def real_source(pictures: "PictureSet", growth: "Growth", start: int = 0, batch_size: int = 64) -> Source:
    """Real pictures as training shows them from position ``start`` on, every picture once before one comes twice."""
    from progcycle.data import as_reals, collate

    def batches() -> Iterator["Tensor"]:
        for first in range(start, start + len(pictures), batch_size):
            places = range(first, min(first + batch_size, start + len(pictures)))
            batch = collate([pictures.training(place, growth.resolution) for place in places])
            yield grey_levels(as_reals(batch.images, growth))

    return batches


def painted_source(model: "Generator", seed: int, count: int, batch_size: int = 64) -> Source:
    """The pictures 0 to ``count - 1`` of a seed of a trained generator, classes in turn."""

    def batches() -> Iterator["Tensor"]:
        for first in range(0, count, batch_size):
            size = min(batch_size, count - first)
            yield grey_levels(model.generate(size, seed, start=first, batch_size=size))

    return batches


def measure(run: Path, names: Sequence[str], count: int, seed: int = 0, device: str = "cpu") -> Figures:
    """Figures of the newest snapshot of a run; the real pictures are those of its recipe.

    Args:
        run: a run folder, or a snapshot.
        names: metrics, of ``METRICS``.
        count: generated pictures, and at most as many real ones.
        seed: of the latents and of the metrics' own choices.
        device: where to paint and compute.

    Raises:
        UserError: the run holds no PG-GAN, or a metric cannot be computed.
    """
    from progcycle.export import Generator, load

    model = load(run, device)
    if not isinstance(model, Generator):
        raise UserError(f"{run} holds translators; {', '.join(names)} measure pictures that are painted from nothing.")
    check_metrics(names, model.resolution, model.recipe.data.channels, "metrics")  # type: ignore[union-attr]
    pictures, growth = training_set(model)
    figures: Figures = {}
    for name in names:
        of = count if name == "modes" else min(count, len(pictures))
        ask = Ask(
            painted_source(model, seed, of, batch_size=256),
            real_source(pictures, growth),
            of,
            model.resolution,
            seed,
            device,
        )
        figures |= METRICS[name](ask)
    return figures


def training_set(model: "Generator", paths: Sequence[str] | None = None) -> tuple["PictureSet", "Growth"]:
    """The training pictures of a model, mirrored as in training but not augmented, and where its growth stands.

    Args:
        model: a trained generator.
        paths: folders or zip files to read instead of the recipe's.

    Raises:
        UserError: a path is missing or has no pictures.
    """
    from progcycle.data import resolve_sets
    from progcycle.schedule import Growth

    recipe, config = model.recipe, model.config
    changes: dict[str, Any] = {"augment": (), "load_resolution": None, "cache_resolution": 0, "labels": None}
    if paths:
        changes["path"] = tuple(paths)
    data = recipe.data.model_copy(update=changes)
    sets = resolve_sets(data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=Path())
    fade = recipe.schedule.fade_reals
    return sets["real"], Growth(config.stage, config.resolution, config.alpha, nimg=config.nimg, fade_reals=fade)


def evaluator(recipe: "Recipe", sets: Mapping[str, "PictureSet"] | None = None) -> "Evaluate | None":
    """The callback behind ``training.evaluation``, or None if the recipe does not ask for one.

    Args:
        recipe: a validated recipe.
        sets: real pictures by domain; default: those of the recipe, found when they are first needed.

    Raises:
        UserError: the recipe asks for metrics that cannot be computed.
    """
    import torch

    options = recipe.training.evaluation
    if options is None:
        return None
    if recipe.task != "pggan":
        raise UserError("training.evaluation: these metrics are for the task pggan; leave it out.")
    check_metrics(options.metrics, recipe.resolution, recipe.data.channels, "training.evaluation.metrics")
    known = dict(sets or {})

    def evaluate(sample: "Sampler", nimg: int) -> Figures:
        if not known:
            from progcycle.data import resolve_sets

            data = recipe.data.model_copy(update={"augment": (), "load_resolution": None, "cache_resolution": 0})
            known.update(resolve_sets(data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=Path()))
        growth, real = sample.growth, known["real"]
        figures: Figures = {}
        for name in options.metrics:
            if name != "modes" and growth.resolution < SMALLEST:
                continue  # an early stage has nothing that these could look at
            if name == "modes" and growth.resolution < 8:
                continue
            count = options.count if name == "modes" else min(options.count, max(len(real) // 2, 2))
            painted = _sampled(sample, recipe, count)
            ask = Ask(painted, real_source(real, replace(growth, alpha=growth.alpha)), count, growth.resolution,
                      recipe.seed, str(sample.device))  # fmt: skip
            with torch.no_grad():
                figures |= METRICS[name](ask)
        return figures

    return evaluate


def _sampled(sample: "Sampler", recipe: "Recipe", count: int, batch_size: int = 64) -> Source:
    """Pictures of the networks as they are now, from latents of an address of their own."""
    import torch
    from torch.nn import functional as F

    from progcycle.rng import normal

    size = recipe.network.latent_size  # type: ignore[union-attr]  # only the unconditional task gets here

    def batches() -> Iterator["Tensor"]:
        for first in range(0, count, batch_size):
            places = range(first, min(first + batch_size, count))
            panel = {"latents": normal(recipe.seed, "metric/latent", places, size)}
            if known := len(sample.task.classes):
                panel["labels"] = F.one_hot(torch.tensor([i % known for i in places]), known).float()
            yield grey_levels(sample(panel)[0])

    return batches
